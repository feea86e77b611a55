"""pyarrow without pandas, which nothing here uses, and chDB's packages bring along.

pyarrow looks for pandas at its first array: importing it takes 0.8 s of CPU and 30 MB, in every process that opens
a store.
"""

import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa


class _Refusal(MetaPathFinder):
    """Says that there is no pandas (https://docs.python.org/3/reference/import.html#the-meta-path)."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("not needed here", name=fullname)


def leave_pandas_out() -> None:
    """Let pyarrow look, which it does once, while none is to be found. No effect after the first array."""
    refusal = _Refusal()
    sys.meta_path.insert(0, refusal)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(refusal)
