"""Queries of tests/store, on a cluster: the same answers from shards as from one server."""

from tests.store.test_query_answers import (  # noqa: F401 (collected here too)
    test_labels,
    test_profile,
    test_summary,
    test_top,
    test_top_is_that_of_the_flame_graph,
    world,
)
