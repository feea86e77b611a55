"""A worker for debug information that is taken over by its file: it reaches its input, its answer and nothing else.

The real worker process, started by the real code with the descriptors and environment it gets in the product; only
the job is replaced, by code that tries to get out.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from collector.debuginfo.confine import _CALLS
from collector.debuginfo.workers import WorkerFailed, WorkerLimits, Workers

SECRET = b"fleetprof-secret-of-another-file"
INPUT = b"the input of the job, and no more of it"
LIMITS = WorkerLimits(memory_bytes=256 << 20, cpu_s=60, wall_s=120)
ALLOWED = _CALLS[os.uname().machine][1]

TAKEN_OVER = """
import ctypes, errno, mmap, os
import collector.debuginfo.worker as worker
libc = ctypes.CDLL(None, use_errno=True)
def taken_over(data, job):
{code}
worker._JOBS["look_up"] = taken_over
worker.main()
"""
# 335 and 336 on x86-64 are uretprobe and uprobe, which no filter is asked about (Linux 6.13): they end a process
# that nobody probes.
EVERY_CALL = """
    found = {}
    for number in [*range(600), *(1 << 30 | number for number in range(600))]:
        if number not in job["allowed"] and number not in (335, 336):
            ctypes.set_errno(0)
            libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
            found[number] = ctypes.get_errno()
    return {"found": found}
"""
EVERY_DESCRIPTOR = """
    readable, written = {}, []
    for fd in range(1024):
        try:
            readable[fd] = os.pread(fd, 100, 0).decode("latin-1")
        except OSError as error:
            if error.errno == errno.ESPIPE:
                readable[fd] = "a pipe"
        try:
            if fd not in (1, 2):
                os.write(fd, b"x")
                written.append(fd)
        except OSError:
            pass
    mappings = []
    for fd in readable:
        try:
            mmap.mmap(fd, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            mappings.append(fd)
        except (OSError, ValueError):
            pass
    return {"readable": readable, "written": written, "mapped": mappings, "file": job["file"],
            "environment": dict(os.environ)}
"""
OTHER_MACHINE = """
    # mov eax, 20 (getpid); int 0x80; ret: the calls of 32 bits, of which the filter knows no numbers
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return {"got": ctypes.CFUNCTYPE(ctypes.c_int)(address)()}
"""


def hijacked(monkeypatch: pytest.MonkeyPatch, code: str) -> dict[str, Any]:
    """What a worker answers that runs `code` in place of its job."""
    program = TAKEN_OVER.format(code=code)
    start = subprocess.Popen

    def taken_over(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        assert command[-2:] == ["-m", "collector.debuginfo.worker"]
        return start([*command[:-2], "-c", program], **options)

    monkeypatch.setattr(subprocess, "Popen", taken_over)
    workers = Workers(LIMITS)
    with tempfile.TemporaryFile() as file:
        file.write(INPUT)
        file.flush()
        answer: dict[str, Any] = workers._run("look_up", file, allowed=ALLOWED)
        file.seek(0)
        assert file.read() == INPUT
    return answer


def test_no_system_call_but_those_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hijacked(monkeypatch, EVERY_CALL)["found"]
    assert len(found) > 1100
    assert {number: code for number, code in found.items() if code != 1} == {}, "only EPERM"


def test_nothing_is_open_but_its_input_and_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(SECRET)
    monkeypatch.setenv("FLEETPROF_TOKEN", SECRET.decode())
    with other.open("rb") as open_file:
        os.set_inheritable(open_file.fileno(), True)
        answer = hijacked(monkeypatch, EVERY_DESCRIPTOR)
    inputs = [int(fd) for fd, data in answer["readable"].items() if data == INPUT.decode()]
    assert answer["file"] in inputs
    assert set(map(int, answer["readable"])) - set(inputs) <= {0, 1, 2}
    assert answer["written"] == []
    assert not set(inputs) & set(answer["mapped"]), "its input cannot be changed"
    assert SECRET.decode() not in json.dumps(answer)
    assert not {"FLEETPROF_TOKEN", "HOME", "PATH"} & set(answer["environment"])


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86-64 has calls by another gate")
def test_calls_of_32_bits_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerFailed, match="ended the process that read it"):
        hijacked(monkeypatch, OTHER_MACHINE)
