"""A program's own name, and its version where the name carries one."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.identify.interpreter import JAVA, NODE, PYTHON, Interpreter, interpreter_of, without_multi_call

MAX_ARGUMENTS = 512
MAX_ARGUMENT_CHARS = 4096
MAX_FILE_NAME = 255

_SCRIPT_SUFFIX = re.compile(
    r"\.(py|pyc|pyz|pyw|sh|bash|zsh|pl|rb|php|phar|lua|js|mjs|cjs|ts|mts|jar|war|dll|exe)\Z"
)
_ARCHIVE_VERSION = re.compile(r"[-_]v?(\d+(?:\.\d[\w.+-]*)?)\Z")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
_TITLE = re.compile(r"([\w.-]+)(?:: |:? \(| \[|\Z)[^\[]*(?:\[([\w.:-]+)\])?")
_FOLDER_DEFAULTS = frozenset(("__main__", "index", "manage"))
"""Scripts named by convention: the folder they stand in says which program it is."""

_APP_SERVERS = frozenset(("gunicorn", "uvicorn", "hypercorn", "daphne", "waitress-serve", "waitress"))
_APP_OPTION_SERVERS = frozenset(("celery", "flask"))
"""Servers that are told the application by `-A`, `--app`."""
_APPLICATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(.*\))?")
_ENTRY_MODULES = (".wsgi", ".asgi", ".__main__")


class Program(NamedTuple):
    """`name` for people; `version` only where the program's file name or its runtime tells it."""

    name: str
    version: str = ""


def file_name(path: str) -> str:
    """The last part of an executable's path, without the kernel's mark of a deleted file."""
    return path.removesuffix(" (deleted)").rstrip("/").rpartition("/")[2]


def program_of(exe: str, command_line: Sequence[str], environment: Mapping[str, str]) -> Program:
    """The program that a process runs: the script, module or archive if `exe` is an interpreter, else the
    executable itself."""
    executable, arguments = without_multi_call(_bounded(command_line), file_name(exe))
    interpreter = interpreter_of(executable)
    if interpreter is None or not arguments:
        return Program(executable)
    if interpreter is NODE and environment.get("npm_package_name"):
        return Program(environment["npm_package_name"], environment.get("npm_package_version", ""))
    return _interpreted(interpreter, arguments, executable)


def _bounded(command_line: Sequence[str]) -> Sequence[str]:
    """The arguments without what a rewritten title leaves behind: empty ones, or all in the first."""
    arguments = [argument[:MAX_ARGUMENT_CHARS] for argument in command_line[:MAX_ARGUMENTS]]
    while arguments and not arguments[-1]:
        arguments.pop()
    words = arguments[0].split() if len(arguments) == 1 else []
    return words if len(words) > 1 and interpreter_of(file_name(words[0])) else arguments


def _interpreted(interpreter: Interpreter, arguments: Sequence[str], executable: str) -> Program:
    called = file_name(arguments[0]).lstrip("-")
    if interpreter in (PYTHON, NODE) and not interpreter_of(called):
        return Program(_from_title(arguments[0]) or executable)
    if interpreter is JAVA:
        return _java_program(arguments[1:], executable)
    script = interpreter.program(arguments[1:])
    name = _script_name(script)
    if interpreter is PYTHON and name in _APP_SERVERS | _APP_OPTION_SERVERS:
        rest = arguments[list(arguments).index(script) + 1 :] if script in arguments else ()
        name = _application(name, rest) or name
    return Program(name or executable)


def _from_title(title: str) -> str:
    """Read a title that the process gave itself: `gunicorn: worker [shop.wsgi:app]`, `next-server (v14)`."""
    match = _TITLE.match(file_name(title) if title.startswith("/") else title)
    if not match:
        return ""
    return _module_name(match[2]) if match[1] in _APP_SERVERS and match[2] else match[1]


def _application(server: str, arguments: Sequence[str]) -> str:
    """The application that a Python application server was told to run."""
    if server in _APP_SERVERS:
        positional = [
            each for before, each in zip(["", *arguments], arguments, strict=False) if before[:1] != "-"
        ]
        named = [each for each in arguments if _APPLICATION.fullmatch(each)]
        return next((_module_name(each) for each in named or positional if _names_module(each)), "")
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("-A", "--app"):
            return _module_name(following)
        if argument.startswith("--app="):
            return _module_name(argument.removeprefix("--app="))
    return ""


def _names_module(text: str) -> bool:
    return bool(_APPLICATION.fullmatch(text) or _MODULE.fullmatch(text))


def _module_name(application: str) -> str:
    """`shop.wsgi:application` → `shop`."""
    name = _SCRIPT_SUFFIX.sub("", application.partition(":")[0].rpartition("/")[2])
    for entry in _ENTRY_MODULES:
        name = name.removesuffix(entry)
    return name


def _script_name(script: str) -> str:
    """The file's name without its language's suffix; a dotted module name stays whole."""
    path = script.rstrip("/")
    folder, _, last = path.rpartition("/")
    name = _SCRIPT_SUFFIX.sub("", last)
    if name in _FOLDER_DEFAULTS and folder.rpartition("/")[2] not in ("", ".", ".."):
        return folder.rpartition("/")[2]
    return "" if name in (".", "..") else name.removesuffix(".__main__")


def _java_program(arguments: Sequence[str], executable: str) -> Program:
    """The declared application name, else the archive (its version taken off), else the main class."""
    for argument in arguments:
        if argument.startswith("-Dspring.application.name="):
            return Program(argument.partition("=")[2] or executable)
    main = JAVA.program(arguments)
    if "/" not in main and not main.endswith((".jar", ".war")):
        return Program(main or executable)
    archive = _SCRIPT_SUFFIX.search(main)
    if not archive:
        return Program(main.rpartition("/")[2] or executable)
    name = _script_name(main)
    versioned = _ARCHIVE_VERSION.search(name[:MAX_FILE_NAME])
    return Program(name[: versioned.start()], versioned[1]) if versioned else Program(name or executable)
