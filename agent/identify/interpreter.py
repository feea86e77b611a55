"""Which program an interpreter runs, read from its command line.

Of a program run by an interpreter the executable says nothing (`python3.11`), the script or module does. Each
interpreter is described by how its options take their values, as its manual page has them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How one interpreter's command line is read.

    Single-letter options may be bundled (`-Im`) and hold their value in the same argument (`-mpkg`).
    """

    executable: re.Pattern[str]
    code: str = ""
    """Letters of options whose value is the program's text: there is no script."""
    module: str = ""
    """Letters of options whose value names the program."""
    values: str = ""
    """Letters of options that take a value."""
    long_code: frozenset[str] = frozenset()
    long_values: frozenset[str] = frozenset()
    """Long options that take the next argument (`--name=value` needs no entry)."""
    long_module: frozenset[str] = frozenset()
    subcommands: frozenset[str] = frozenset()
    """First words that stand before the script, e.g. deno's `run`."""
    bundles: bool = True
    """False where options with one dash are words (java, dotnet)."""

    def program(self, arguments: Sequence[str]) -> str:
        """The script, module, class or archive as written after the interpreter; "" when there is none."""
        rest = iter(arguments)
        for argument in rest:
            if argument == "--":
                return next(rest, "")
            if argument == "-":
                return ""
            if argument.startswith("-") or argument.startswith("@"):
                found = self._option(argument, rest)
                if found is not None:
                    return found
            elif argument not in self.subcommands:
                return argument
        return ""

    def _option(self, option: str, rest: Iterator[str]) -> str | None:
        """Consume the option's value. The program if the option names it, "" if there is none, else None."""
        if option.startswith("--") or not self.bundles:
            return self._long_option(option, rest)
        for position, letter in enumerate(option[1:], 2):
            if letter in self.code:
                return ""
            if letter in self.module:
                return option[position:] or next(rest, "")
            if letter in self.values:
                if not option[position:]:
                    next(rest, "")
                return None
        return None

    def _long_option(self, option: str, rest: Iterator[str]) -> str | None:
        if option.partition("=")[0] in self.long_code:
            return ""
        if option in self.long_module:
            return next(rest, "")
        if option in self.long_values:
            next(rest, "")
        return None


PYTHON = Interpreter(
    re.compile(r"(python|pypy)[\d.]*t?"),
    code="c",
    module="m",
    values="WXQ",
    long_values=frozenset(("--check-hash-based-pycs",)),
)
SHELL = Interpreter(
    re.compile(r"(ba|da|z|k|mk|a|fi)?sh"),
    code="cs",
    values="oO",
    long_values=frozenset(("--rcfile", "--init-file")),
)
PERL = Interpreter(re.compile(r"perl[\d.]*"), code="eE", values="ImM")
RUBY = Interpreter(re.compile(r"ruby[\d.]*"), code="e", values="rICE")
PHP = Interpreter(re.compile(r"php[\d.]*"), code="rBRE", module="fF", values="cdtzS")
LUA = Interpreter(re.compile(r"(lua|luajit)[\d.-]*"), code="e", values="l")
NODE = Interpreter(
    re.compile(r"node(js)?|bun"),
    code="epi",
    values="rC",
    long_code=frozenset(("--eval", "--print", "--interactive")),
    long_values=frozenset(
        ("--require", "--import", "--loader", "--experimental-loader", "--conditions", "--title")
    ),
    subcommands=frozenset(("run",)),
)
DENO = Interpreter(
    re.compile(r"deno"),
    values="cL",
    long_values=frozenset(("--config", "--import-map", "--log-level")),
    subcommands=frozenset(("run", "serve")),
)
JAVA = Interpreter(
    re.compile(r"java"),
    bundles=False,
    long_module=frozenset(("-jar", "-m", "--module")),
    long_values=frozenset(
        ("-cp", "-classpath", "--class-path", "-p", "--module-path", "--upgrade-module-path", "--add-modules",
         "--limit-modules", "--add-exports", "--add-opens", "--add-reads", "--patch-module",
         "--enable-native-access", "--source")
    ),
)  # fmt: skip
DOTNET = Interpreter(
    re.compile(r"dotnet"),
    bundles=False,
    long_values=frozenset(("--runtimeconfig", "--depsfile", "--additionalprobingpath", "--fx-version")),
    subcommands=frozenset(("exec",)),
)

INTERPRETERS = (PYTHON, SHELL, PERL, RUBY, PHP, LUA, NODE, DENO, JAVA, DOTNET)

_MULTI_CALL = re.compile(r"busybox[\w.-]*|toybox|coreutils")


def interpreter_of(executable: str) -> Interpreter | None:
    """The interpreter whose executable has that file name."""
    return next((each for each in INTERPRETERS if each.executable.fullmatch(executable)), None)


def without_multi_call(command_line: Sequence[str], executable: str) -> tuple[str, Sequence[str]]:
    """(program called, its command line) where one executable is many programs: `/bin/busybox` run as `sh`,
    or `busybox sh script`. Others stay as they are."""
    if not command_line or not _MULTI_CALL.fullmatch(executable):
        return executable, command_line
    called = command_line[0].rpartition("/")[2].lstrip("-")
    if _MULTI_CALL.fullmatch(called) and len(command_line) > 1:
        return without_multi_call(command_line[1:], executable)
    return called or executable, command_line
