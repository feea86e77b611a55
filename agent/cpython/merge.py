"""Leaves out what CPython's C code adds between two Python functions: how one of them calls the other.

The loop itself was replaced in the kernel. What remains of an interpreter's native frames is kept: what runs below
a Python function (the leaf's side), as a sort or a lookup does, and C extensions in between.
"""

from collections.abc import Callable, Sequence

from fleetprof.frames import Frame, FrameKind

CALLS = frozenset(
    {
        *("_PyEval_EvalFrameDefault", "_PyEval_EvalFrame", "_PyEval_Vector", "_PyEval_EvalCode"),
        *("_PyEval_EvalFrame.constprop.0", "_PyEval_EvalCode.constprop.0", "_PyEval_EvalCodeWithName"),
        *("_PyFunction_Vectorcall", "function_code_fastcall", "call_function", "do_call_core"),
        *("_PyObject_Vectorcall", "PyObject_Vectorcall", "_PyObject_VectorcallTstate", "_PyVectorcall_Call"),
        *(
            "PyVectorcall_Call",
            "_PyObject_Call",
            "PyObject_Call",
            "_PyObject_Call_Prepend",
            "_PyObject_MakeTpCall",
        ),
        *(
            "_PyObject_FastCallDictTstate",
            "_PyObject_FastCallDict",
            "PyObject_CallObject",
            "PyObject_CallNoArgs",
        ),
        *("_PyObject_CallNoArg", "_PyObject_CallNoArgs", "_PyObject_CallNoArgsTstate", "PyObject_CallOneArg"),
        *(
            "PyObject_CallFunctionObjArgs",
            "PyObject_CallMethodObjArgs",
            "object_vacall",
            "_PyObject_CallFunctionVa",
        ),
        *("method_vectorcall", "vectorcall_method", "vectorcall_unbound", "slot_tp_call", "slot_tp_init"),
        *("gen_send_ex", "gen_send_ex2", "gen_iternext", "_PyGen_Send", "PyIter_Send"),
    }
)
"""Functions that do nothing but call, by the names of CPython 3.9 to 3.14."""
CALL = Frame(FrameKind.NATIVE, "_PyEval_EvalFrameDefault", "")
"""Stands for code of a function that only calls."""
_SUFFIXES = (".part.0", ".constprop.0", ".isra.0", ".cold", ".lto_priv.0")


def without_calls(ids: Sequence[int], frame_of: Callable[[int], Frame]) -> tuple[int, ...]:
    """A stack, leaf first, without the frames that only call the Python function before them."""
    kept: list[int] = []
    called = False
    for number in ids:
        frame = frame_of(number)
        called = frame.kind is FrameKind.PYTHON or (called and _is_call(frame))
        if not called or frame.kind is FrameKind.PYTHON:
            kept.append(number)
    return tuple(kept)


def _is_call(frame: Frame) -> bool:
    name = frame.function
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return frame.kind is FrameKind.NATIVE and name in CALLS
