"""A flame graph as an indented table."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A node: its depth (0: the root), name, own value and value with everything it calls."""

    depth: int
    name: str
    self_value: int
    total_value: int


def lines_of(flame: dict[str, Any], min_share: float) -> Iterator[Line]:
    """Nodes of the API's flame graph in pre-order that have at least `min_share` of the whole."""
    depths: list[int] = flame["depth"]
    totals: list[int] = list(flame["self"])
    path: list[int] = []
    parents: list[int] = []
    for node, depth in enumerate(depths):
        del path[depth:]
        parents.append(path[-1] if path else -1)
        path.append(node)
    for node in range(len(depths) - 1, 0, -1):
        totals[parents[node]] += totals[node]
    threshold = min_share * flame["whole"]
    for node, depth in enumerate(depths):
        if totals[node] >= threshold and totals[node]:
            yield Line(depth, flame["names"][flame["name"][node]], flame["self"][node], totals[node])
