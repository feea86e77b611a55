"""Queries of tests/store, on a cluster: the same answers from shards as from one server."""

from tests.store.test_query_answers import (  # noqa: F401 (collected here too)
    test_labels,
    test_profile,
    test_top,
    world,
)
