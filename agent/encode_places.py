"""Writes a window's places (agent/places.py) as the columns of fleetprof.v1.Places."""

import numpy as np
import numpy.typing as npt

from agent.places import Places
from agent.samples import I64
from fleetprof.v1 import ingest_pb2


def encode_places(places: Places, place_of: I64 | None = None) -> ingest_pb2.Places:
    """The message. `place_of`: what stands in the request for each of the window's stacks; as it is by default."""
    stack = places.stack.astype(np.int64) if place_of is None else place_of[places.stack]
    order = np.lexsort((places.offset, places.build, stack, places.series))
    return ingest_pb2.Places(
        build_ids=[bytes.fromhex(build_id) for build_id in places.build_ids],
        series=places.series[order].tolist(),
        stack_steps=_steps(stack[order]),
        build=places.build[order].tolist(),
        offset_steps=_steps(places.offset[order].astype(np.int64)),
        value=places.value[order].tolist(),
    )


def _steps(column: npt.NDArray[np.int64]) -> list[int]:
    steps: list[int] = np.diff(column, prepend=0).tolist()
    return steps
