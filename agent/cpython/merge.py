"""Leaves out what CPython's C code adds beside a Python function: how it is called, and how it calls C.

The loop itself was replaced in the kernel. All other native frames are kept: what a Python function has the
interpreter do, as a sort or a lookup, and C extensions.
"""

from collections.abc import Container, Sequence
from functools import lru_cache

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
        "py_trampoline_evaluator",
    }
)
"""Functions that do nothing but call, by the names of CPython 3.9 to 3.14."""
CALL_FAMILIES = ("cfunction_", "method_vectorcall_", "slot_tp_call", "wrap_call")
"""Beginnings of such names that have one for each way of passing arguments."""
CALL = Frame(FrameKind.NATIVE, "_PyEval_EvalFrameDefault", "")
"""Stands for code of a function that only calls."""
_SUFFIXES = (".part.0", ".constprop.0", ".isra.0", ".cold", ".lto_priv.0")


def without_calls(ids: Sequence[int], python: Container[int], calls: Container[int]) -> tuple[int, ...]:
    """A stack, leaf first, without the frames beside a Python function that only call it, or for it.

    `python` and `calls` are the ids of frames of Python functions, and of those that `is_call`. The leaf stays: it
    is where the time goes.
    """
    left_out = set[int]()
    for places in (range(len(ids)), range(len(ids) - 1, 0, -1)):
        beside = False
        for at in places:
            if ids[at] in python:
                beside = True
            elif beside:
                beside = ids[at] in calls
                if beside:
                    left_out.add(at)
    return tuple([number for at, number in enumerate(ids) if at not in left_out])


def is_call(frame: Frame) -> bool:
    """Whether a frame's function does nothing but call."""
    return frame.kind is FrameKind.NATIVE and _only_calls(frame.function)


@lru_cache(maxsize=16_384)
def _only_calls(function: str) -> bool:
    for suffix in _SUFFIXES:
        function = function.removesuffix(suffix)
    return function in CALLS or function.startswith(CALL_FAMILIES)
