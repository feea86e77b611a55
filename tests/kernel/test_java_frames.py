"""Java code without frame pointers is walked by the sizes of its frames."""

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from agent.samples import UserEnd
from tests.kernel.unwinding import complete_share, ends, unwinding
from tests.workloads.build import SOURCES, running, tool

pytestmark = pytest.mark.kernel

SECONDS = 1.0
KINDS = {"as it comes": (), "interpreted": ("-Xint",), "first compiler only": ("-XX:TieredStopAtLevel=1",)}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run([tool("javac"), "-d", str(folder), str(SOURCES / "LoadJava.java")], check=True)
    return folder


@pytest.mark.parametrize("flags", KINDS.values(), ids=KINDS.keys())
def test_stacks_reach_the_start_of_their_thread(
    classes: Path, flags: tuple[str, ...], tmp_path: Path
) -> None:
    with (
        running([tool("java"), *flags, "-cp", str(classes), "LoadJava"]) as load,
        unwinding(tmp_path, only_pids=(load.pid,)) as agent,
    ):
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        stacks = [agent.names(rows, row) for row in range(len(rows))]
    found = ends(rows)
    whole = [stack for stack, end in zip(stacks, rows.user_end, strict=True) if end == UserEnd.ROOT]
    print(flags, found, Counter(stack[-1] for stack in stacks).most_common(4))
    assert len(rows) >= 100
    assert complete_share(rows) >= 0.99, found
    began = [stack[-1] in ("clone3", "__clone3", "_start") for stack in whole]
    assert sum(began) >= 0.99 * len(began)
    depths = np.diff(rows.user.starts)
    assert np.median(depths) >= 8
    # Java threads begin in the VM, which calls the first Java method through a piece of code that it made.
    in_java = [stack for stack in whole if "[jit]" in stack]
    assert sum("thread_native_entry" in "".join(stack) for stack in in_java) >= 0.95 * len(in_java)
