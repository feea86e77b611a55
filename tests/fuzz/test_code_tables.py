"""A short run of each table of code."""

import uuid

import pytest

from tests.fuzz.code_tables import TABLES, run


@pytest.mark.parametrize("table", TABLES)
def test_mutated_tables(table: str) -> None:
    found = run(table, 400, seed=uuid.uuid4().int & 0xFFFFFFFF)
    assert found.inputs / 50 < found.named < found.inputs, "mutations are too wild or too tame"
