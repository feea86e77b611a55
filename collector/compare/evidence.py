"""The sums behind a comparison: sparse matrices of nanoseconds by function (or stack) and cluster."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

Sparse = Any
"""A scipy.sparse.csr_array of float64."""


def columns_of(members: Sparse, row: int) -> npt.NDArray[np.integer]:
    """The columns that a row has; without a matrix of it, which scipy makes in a tenth of a millisecond."""
    found: npt.NDArray[np.integer] = members.indices[members.indptr[row] : members.indptr[row + 1]]
    return found


@dataclass(frozen=True, slots=True)
class Side:
    """One arm's sums. Columns are the clusters of both arms together."""

    values: Sparse
    """Stack × cluster, nanoseconds."""
    captures: F8
    """By stack."""
    time: F8
    """By cluster: nanoseconds of the selection."""
    seconds: F8
    """By cluster: how long the host ran the selection and reported."""
    present: npt.NDArray[np.bool_]
    """By cluster: belongs to this arm."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both arms' sums by stack, and which functions each stack holds."""

    clusters: list[tuple[str, int]]
    """(host, start of the slice in Unix seconds; 0 when clusters are hosts), in the order of columns."""
    stacks: U64
    """Stack ids in the order of rows."""
    frame_index: npt.NDArray[np.int32]
    starts: I64
    """Stack i is frame_index[starts[i]:starts[i + 1]], leaf first; it indexes Comparison.frames."""
    a: Side
    b: Side
    before: tuple[Side, Side] | None
    """What A and B were before, to take out how they differed anyway."""
    holds: Sparse
    """Function × stack: 1 where the stack holds the function."""
    ends_in: Sparse
    """Function × stack: 1 where the function is the stack's leaf."""

    def by_host(self, row: int, own: bool) -> dict[str, tuple[float, float, float, float]]:
        """Host → (value in A, selection in A, value in B, selection in B) of a function, nanoseconds."""
        chosen = (self.ends_in if own else self.holds)[[row], :]
        a = (chosen @ self.a.values).toarray().ravel()
        b = (chosen @ self.b.values).toarray().ravel()
        columns = np.stack([a, self.a.time, b, self.b.time], axis=1)
        hosts, place = np.unique([host for host, _ in self.clusters], return_inverse=True)
        sums = np.zeros((len(hosts), 4))
        np.add.at(sums, place, columns)
        return {
            str(host): (row[0], row[1], row[2], row[3])
            for host, row in zip(hosts, sums.tolist(), strict=True)
        }
