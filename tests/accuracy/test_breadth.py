"""One recording of a host on which everything runs at once: each language, processes of 200 ms, processes in
mount and pid namespaces of their own, kernel threads. All show their functions by name, in order."""

import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.accuracy.profilers import Folded
from tests.workloads.build import build, running

pytestmark = [pytest.mark.accuracy, pytest.mark.kernel]

SECONDS = 12
# A leaf function without a frame hides its caller from a walk by frame pointers: the function between is not
# expected; V8 would inline all of them into the module, Java's interpreter has no names of its own.
FLAGS = {"node": ["--no-turbo-inlining", "--no-use-osr"], "java": ["-XX:-Inline"]}
LANGUAGES = {
    "c": ("names_c", ["main", "spin_outer", "spin_inner"]),
    "cpp": ("names_cpp", ["main", "spin_outer(shop::Basket&)", "spin_inner<unsigned long>"]),
    "rust": ("names_rust", ["names_rust::main", "names_rust::spin_outer", "names_rust::shop::spin_inner"]),
    "go": ("names_go", ["main.main", "main.spinOuter", "main.spinInner"]),
    "node": ("node", ["Module._compile", "spinOuter", "spinInner"]),
    "java": ("java", ["JavaMain", "NamesJava.spin"]),
}


def built(language: str, folder: Path) -> list[str]:
    """The command of a workload; skips, with the reason, where its toolchain is missing."""
    return build(language, folder, *FLAGS.get(language, []))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("breadth")


@pytest.fixture(scope="module")
def stacks(folder: Path) -> Folded:
    """What one agent saw of everything, process name first."""
    processes = folder / "processes"
    source = Path(__file__).parent.parent / "workloads" / "processes.c"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-o", processes, source, "-ldl"], check=True)
    hidden = folder / "in_namespace"
    shutil.copy(processes, hidden)
    with ExitStack() as running_workloads:
        skipped = []
        for language in LANGUAGES:
            try:
                command = built(language, folder)
            except pytest.skip.Exception as skip:
                skipped.append(str(skip))
                continue
            workload = running_workloads.enter_context(running(command, SECONDS + 60))
            if language == "java":
                subprocess.run(
                    ["jcmd", str(workload.pid), "Compiler.perfmap"], check=True, capture_output=True
                )
        agent = subprocess.Popen(
            [sys.executable, "-m", "agent", "record", "--duration", f"{SECONDS}s"]
            + ["--output", str(folder / "all.folded")],
            stderr=subprocess.PIPE,
            text=True,
        )
        ended = threading.Event()
        short = threading.Thread(target=_short_lived, args=(processes, hidden, ended))
        short.start()
        _, errors = agent.communicate(timeout=120)
        ended.set()
        short.join()
    assert agent.returncode == 0, errors
    print(errors, *skipped)
    found: Folded = Folded()
    for line in (folder / "all.folded").read_text().splitlines():
        stack, _, value = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(value)
    return found


def _write_perf_map(java_pid: int) -> None:
    subprocess.run(["jcmd", str(java_pid), "Compiler.perfmap"], check=True, capture_output=True)


def _short_lived(processes: Path, hidden: Path, ended: threading.Event) -> None:
    """Until the end: processes of 200 ms, one after the other; every second of a file only it can see."""
    private = f"mount -t tmpfs none /mnt && cp {hidden} /mnt/hidden && exec /mnt/hidden spin 200"
    while not ended.is_set():
        subprocess.run([processes, "spin", "200"], check=True)
        subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", private], check=True)


def value_with(stacks: Folded, process: str, functions: list[str]) -> float:
    """Share of the process's value on stacks that hold the functions in this order, caller first."""
    of_process = {stack: value for stack, value in stacks.items() if stack[0] == process}
    total = sum(of_process.values())
    assert total, f"nothing was seen of {process}"
    return sum(value for stack, value in of_process.items() if _in_order(stack, functions)) / total


def _in_order(stack: tuple[str, ...], functions: list[str]) -> bool:
    frames = iter(stack)
    return all(any(function in frame for frame in frames) for function in functions)


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_functions_have_their_names(stacks: Folded, folder: Path, language: str) -> None:
    process, functions = LANGUAGES[language]
    built(language, folder)
    share = value_with(stacks, process, functions)
    print(f"{language}: {share:.1%} of the process on {' → '.join(functions)}")
    assert share > 0.5


@pytest.mark.parametrize("process", ["processes", "hidden"])
def test_processes_of_200_ms_have_their_names(stacks: Folded, process: str) -> None:
    share = value_with(stacks, process, ["main", "spin", "spin_here"])
    print(f"{process}: {share:.1%}")
    assert share > 0.7


def test_kernel_threads_have_names(stacks: Folded) -> None:
    names = {frame for stack in stacks if "kthread" in stack for frame in stack}
    assert "ret_from_fork" in names


def test_hardly_anything_is_nameless(stacks: Folded) -> None:
    nameless = sum(value for stack, value in stacks.items() if "[process gone]" in stack[-1])
    assert nameless / stacks.total() < 0.02
