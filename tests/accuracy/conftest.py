"""Measurements may be taken again: a 3-sigma bound fails by chance alone, and other programs share the CPUs.

A repeat is shown as R and listed at the end of the run; what is wrong in the product fails three times.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPEATS = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.flaky(reruns=REPEATS))
