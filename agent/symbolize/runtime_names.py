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
_JAVA_ADDRESS = re.compile(r"[/+]0x[0-9a-f]{4,16}")
_JAVA_NUMBER = re.compile(
    r"(?P<name>\$\$Lambda|\$Proxy|Generated(?:Serialization)?(?:Method|Constructor)Accessor)\$?[0-9]+"
)


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
    """`int pkg.Class.method(args)` (jcmd Compiler.perfmap) loses its result type; stubs stay as they are.

    Classes that the VM makes up as it runs (lambdas, proxies, reflection) have a number or an address in their name
    that is another one in each process: without it they are one function.
    """
    _, _, method = name.partition(" ")
    if "." not in method.partition("(")[0] or not method.endswith(")"):
        return RuntimeName(FrameKind.JVM, shorten(name), JIT_MAPPING)
    method = _JAVA_NUMBER.sub(lambda found: found["name"], _JAVA_ADDRESS.sub("", method))
    return RuntimeName(FrameKind.JVM, shorten(method), JIT_MAPPING)


def _base(file: str) -> str:
    if file.startswith("node:"):
        return shorten(file)
    return shorten(posixpath.basename(file.rstrip("/")) or JIT_MAPPING)
