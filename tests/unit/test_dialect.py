"""Schema text for different servers, parameters as text, and error codes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.store import errors
from collector.store.cluster_ddl import Cluster
from collector.store.dialect import Dialect, parse_version
from collector.store.migrate import read_migrations
from collector.store.parameters import literal, typed, with_literals
from fleetprof.errors import InputError, UnavailableError


def test_migrations_render_for_each_dialect() -> None:
    cluster = Cluster("fleet", "profiles")
    for dialect in (
        Dialect((18, 16)),
        Dialect((23, 8)),
        Dialect((18, 16), cluster),
        Dialect((26, 9), cluster),
    ):
        parts = [part for each in read_migrations() for part in each.statements]
        text = "".join(statement for part in parts for statement in dialect.ddl(part))
        assert "${" not in text
        modern = dialect.version > (20, 0)
        assert ("LowCardinality" in text) == ("CODEC" in text) == modern
        assert ("Replicated" in text) == (" ON CLUSTER fleet " in text) == (dialect.cluster is not None)


def test_a_cluster_has_a_replicated_table_and_one_over_all_shards() -> None:
    cluster = Cluster("fleet", "profiles")
    sql = (
        "CREATE TABLE IF NOT EXISTS stack_1h (\n    a UInt8\n) ENGINE = SummingMergeTree((a, b))\nORDER BY a"
    )
    local, over = cluster.ddl(sql)
    assert "profiles.stack_1h_local ON CLUSTER fleet (\n    a UInt8\n)" in local
    path = "'/clickhouse/tables/profiles/stack_1h/{shard}', '{replica}'"
    assert f"ReplicatedSummingMergeTree({path}, (a, b))\nORDER BY a" in local
    assert over.endswith("ENGINE = Distributed(fleet, profiles, stack_1h_local)")
    (whole,) = cluster.ddl(sql.replace("stack_1h", "migrations"))
    assert "'/clickhouse/tables/profiles/migrations/all', '{shard}-{replica}'" in whole
    assert cluster.ddl("ALTER TABLE samples ADD COLUMN b UInt8") == [
        "ALTER TABLE profiles.samples_local ON CLUSTER fleet ADD COLUMN b UInt8",
        "ALTER TABLE profiles.samples ON CLUSTER fleet ADD COLUMN b UInt8",
    ]
    assert cluster.ddl(
        "ALTER TABLE samples MODIFY COLUMN b UInt8 CODEC(T64, ZSTD(1)) TTL ts + INTERVAL 2 DAY\n"
    ) == [
        "ALTER TABLE profiles.samples_local ON CLUSTER fleet MODIFY COLUMN b UInt8 CODEC(T64, ZSTD(1)) TTL ts"
        " + INTERVAL 2 DAY",
        "ALTER TABLE profiles.samples ON CLUSTER fleet MODIFY COLUMN b UInt8",
    ]
    with pytest.raises(UnavailableError):
        cluster.ddl("INSERT INTO samples SELECT 1")


def test_an_unknown_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError):
        Dialect((26, 9)).render("CREATE TABLE x (a ${nope})")


@pytest.mark.parametrize(("text", "version"), [("18.16.1", (18, 16)), ("26.9.2.1-lts", (26, 9))])
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


def test_placeholders_get_the_type_of_their_value() -> None:
    values = {"s": "x", "i": -1, "n": 2**63, "f": 0.5, "b": True, "a": ["it's"], "e": [], "u": np.uint64(7),
              "np": np.array([1, 2], np.uint32)}  # fmt: skip
    sql, texts = typed(" ".join(f"%({name})s" for name in values) + " 5 %% 2", values)
    assert sql == (
        "{s:String} {i:Int64} {n:UInt64} {f:Float64} {b:UInt8} {a:Array(String)} {e:Array(Nothing)}"
        " {u:UInt64} {np:Array(UInt64)} 5 % 2"
    )
    assert texts["a"] == "['it\\'s']"
    assert texts["np"] == "[1, 2]"


@pytest.mark.parametrize("value", [None, 2**64, math.nan, object(), b"x", [1, "x"], {"a": 1}])
def test_values_without_a_type_are_errors(value: object) -> None:
    with pytest.raises(TypeError):
        typed("%(x)s", {"x": value})


def test_half_a_surrogate_pair_is_the_users_error() -> None:
    with pytest.raises(InputError):
        typed("%(x)s", {"x": "\ud800"})


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        typed("%(x)s", {})


@given(st.text())
def test_a_literal_ends_where_it_should(text: str) -> None:
    """Read the literal as ClickHouse does: a backslash takes the next character, a quote ends."""
    quoted = literal(text)
    assert quoted[0] == quoted[-1] == "'"
    body, place = quoted[1:-1], 0
    while place < len(body):
        assert body[place] != "'"
        place += 2 if body[place] == "\\" else 1
    assert place == len(body)
    assert with_literals("a = %(x)s", {"x": text}) == f"a = {quoted}"


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("Code: 159. DB::Exception: Timeout exceeded: elapsed 1 s", errors.QueryTooLong, 159),
        ("Code: 241. DB::Exception: Memory limit (for query) exceeded", errors.StoreBusy, 241),
        ("Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space", errors.StoreFull, 243),
        ("Streaming insert failed: Code: 74. DB::Exception: errno: 28, No space left on device",
         errors.StoreFull, 74),
        ("Code: 62. DB::Exception: Syntax error", errors.StoreError, 62),
        ("something else", errors.StoreError, 0),
        ("", errors.StoreError, 0),
    ],
)  # fmt: skip
def test_errors_have_a_type_and_a_code(text: str, kind: type[errors.StoreError], code: int) -> None:
    found = errors.parse(text)
    assert type(found) is kind
    assert found.code == code
    assert "Code:" not in found.message
