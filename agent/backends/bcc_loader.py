"""Compiles and loads the CPU program with BCC, in a process of its own that hands back descriptors and ends.

BCC keeps LLVM in memory (125 MB) and changes the working folder while it compiles; a process that is gone
costs the agent neither. Started by agent/backends/bcc.py as

    python -m agent.backends.bcc_loader FOLDER SOCKET NAME=VALUE…

FOLDER holds the package `bcc`, SOCKET is the number of an inherited Unix socket on which the descriptors of
the program and the maps `captures`, `losses`, `only_pids` and `scratch` are sent, and each NAME=VALUE is a
constant of the program. A failure is BCC's own message on stderr and a non-zero exit.
"""

import importlib.util
import mmap
import os
import platform
import re
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from agent.libbpf import OBJECTS

MAPS = ("captures", "losses", "only_pids", "scratch")


def import_bcc(folder: Path) -> ModuleType:
    """The package in `folder` as module `bcc`, without making its neighbours importable."""
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    spec.loader.exec_module(module)
    return module


def version_code(release: str) -> int:
    """LINUX_VERSION_CODE of a kernel release such as "5.10.0-8-amd64"."""
    numbers = [int(number) for number in re.findall(r"\d+", release)[:3]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return (major << 16) + (minor << 8) + min(patch, 255)


def compile_program(bcc: Any, constants: list[str]) -> tuple[Any, list[int]]:
    """BCC's module, to be kept alive, and its descriptors: the program, then MAPS."""
    os.environ["BCC_KERNEL_SOURCE"] = str(OBJECTS)  # the folder with our include/, see bpf/bcc_include
    flags = [
        f"-DLINUX_VERSION_CODE={version_code(platform.release())}",
        f"-DPAGE_SIZE={mmap.PAGESIZE}",
        *(f"-D{constant}" for constant in constants),
    ]
    module = bcc.BPF(src_file=str(OBJECTS / "cpu.bcc.c").encode(), cflags=flags)
    program = module.load_func("sample_cpu", module.PERF_EVENT)
    return module, [program.fd, *(module[name].map_fd for name in MAPS)]


def main(arguments: list[str]) -> None:
    """See the module's text."""
    folder, number, *constants = arguments
    kept, descriptors = compile_program(import_bcc(Path(folder)), constants)
    with socket.socket(fileno=int(number)) as channel:
        socket.send_fds(channel, [b"loaded"], descriptors)
    del kept


if __name__ == "__main__":
    main(sys.argv[1:])
