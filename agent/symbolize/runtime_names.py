"""From the names that runtimes write into perf maps to names for people."""

import posixpath
import re
from typing import NamedTuple

from fleetprof.demangle import shorten
from fleetprof.frames import FrameKind

JIT_MAPPING = "[jit]"

_NODE = re.compile(r"(?:JS|LazyCompile|Function|InterpretedFunction|Eval|Script|Callback):[*~^+!]*")
_NODE_LINE = re.compile(r":([0-9]{1,9}):[0-9]{1,9}\Z")
_NODE_FILE = re.compile(r"(?:^| )(?=/|\[|[a-z][a-z0-9+.-]{1,20}:)")
_JAVA = re.compile(r"(?:[\w.$\[\]]+ )(?P<method>[\w.$]+\.[\w$<>]+\(.*\))\Z")


class RuntimeName(NamedTuple):
    """A function of a runtime. `mapping` is the source file's name where that is known, else "[jit]"."""

    kind: FrameKind
    function: str
    mapping: str
    file: str = ""
    line: int = 0


def runtime_name(name: str, runtime: FrameKind) -> RuntimeName:
    """What a perf map's entry `name` is; `runtime` is the kind of a process whose entries do not say it."""
    if name.startswith("py::"):
        return _python(name[4:])
    if _NODE.match(name):
        return _node(name)
    if runtime is FrameKind.JVM:
        return _java(name)
    return RuntimeName(runtime, shorten(name), JIT_MAPPING)


def _python(name: str) -> RuntimeName:
    """`py::qualname:file`, as CPython writes with -X perf."""
    function, _, file = name.partition(":")
    return RuntimeName(FrameKind.PYTHON, shorten(function), _base(file), shorten(file))


def _node(name: str) -> RuntimeName:
    """`JS:*function file:line:column`; the mark before the function is V8's tier, which changes over time.

    Functions without a name get their place as name, the top level of a file "(module)".
    """
    text = _NODE.sub("", name, count=1)
    place = _NODE_LINE.search(text)
    if not place:
        return RuntimeName(FrameKind.NODE, shorten(text.strip() or "(anonymous)"), JIT_MAPPING)
    text, line = text[: place.start()], int(place[1])
    start = _NODE_FILE.search(text)
    function, file = (text[: start.start()], text[start.end() :]) if start else _last_word(text)
    if not function:
        function = "(module)" if place[0] == ":1:1" else f"(anonymous:{line})"
    return RuntimeName(FrameKind.NODE, shorten(function), _base(file), shorten(file), line)


def _last_word(text: str) -> tuple[str, str]:
    function, _, file = text.rpartition(" ")
    return function, file


def _java(name: str) -> RuntimeName:
    """`int pkg.Class.method(args)` (jcmd Compiler.perfmap) loses its result type; stubs stay as they are."""
    match = _JAVA.match(name)
    return RuntimeName(FrameKind.JVM, shorten(match["method"] if match else name), JIT_MAPPING)


def _base(file: str) -> str:
    if file.startswith("node:"):
        return shorten(file)
    return shorten(posixpath.basename(file.rstrip("/")) or JIT_MAPPING)
