"""Window differences of made-up iterator passes, and cutting of stacks."""

from pathlib import Path

import numpy as np

from agent.samples import Stacks, no_stacks
from agent.sched_records import HEAD, RECORD, Kind, Records, State, Told, parse
from agent.sched_stacks import CodeRange, below_scheduler, schedule_range
from agent.sched_syscalls import class_of_syscall
from agent.sched_threads import ThreadTable
from fleetprof.series import WAIT_CLASSES

NO_EXITS = np.empty(0, RECORD)
FUTEX = WAIT_CLASSES.index("futex")


def record(
    now: int, since: int, state: State, cpu: int = 0, runq: int = 0, futex: int = 0, id: int = 7
) -> Records:
    row = np.zeros(1, RECORD)
    row["kind"], row["state"], row["wait"], row["id"] = Kind.FULL, state, FUTEX, id
    row["born_ns"], row["since_ns"], row["now_ns"] = since - cpu - runq - futex, since, now
    row["cpu_ns"], row["runq_ns"] = cpu, runq
    row["wait_ns"][0, FUTEX] = futex
    row["pid"], row["tid"], row["comm"], row["start_ns"] = 10, 10 + id, b"main", 5
    return row


def head(now: int, kind: Kind, id: int = 7) -> Records:
    row = np.zeros(1, HEAD)
    row["kind"], row["id"], row["now_ns"] = kind, id, now
    return row


def full(*rows: Records) -> Told:
    records = np.concatenate(rows)
    stacks = Stacks(np.arange(len(rows), dtype=np.uint64), np.arange(len(rows) + 1))
    return Told(records, stacks, np.empty(0, HEAD))


def heads(*rows: Records) -> Told:
    return Told(NO_EXITS, no_stacks(0), np.concatenate(rows))


def test_a_running_thread() -> None:
    table = ThreadTable()
    table.update(full(record(now=1000, since=900, state=State.RUNNING, cpu=300)), NO_EXITS)
    times = table.update(
        full(record(now=2000, since=1800, state=State.RUNNING, cpu=700, runq=500)), NO_EXITS
    ).times
    assert (times.cpu_ns[0], times.runq_ns[0], times.wall_ns[0]) == (500, 500, 1000)


def test_a_thread_told_as_unchanged_waits_on_with_its_stack() -> None:
    table = ThreadTable()
    first = table.update(full(record(now=1000, since=400, state=State.BLOCKED, futex=100)), NO_EXITS)
    assert first.open_waits.value_ns.tolist() == [600]
    for window in range(3):
        now = 2000 + 1000 * window
        closed = table.update(heads(head(now, Kind.SAME)), NO_EXITS)
        assert closed.times.wait_ns[0, FUTEX] == closed.times.wall_ns[0] == 1000
        assert closed.open_waits.value_ns.tolist() == [1000]
        assert closed.open_waits.kernel.addrs.tolist() == [0]
        assert closed.open_waits.wait.tolist() == [FUTEX]


def test_an_unsteady_thread_is_told_next_time() -> None:
    table = ThreadTable()
    table.update(full(record(now=1000, since=900, state=State.RUNNING, cpu=300)), NO_EXITS)
    assert len(table.update(heads(head(1990, Kind.UNSTEADY)), NO_EXITS).times) == 0
    times = table.update(full(record(now=3000, since=2900, state=State.RUNNING, cpu=2300)), NO_EXITS).times
    assert times.wall_ns.tolist() == [2000]


def test_a_thread_that_ends_between_list_and_last_switch_is_told_in_the_next_window() -> None:
    table = ThreadTable()
    table.update(full(record(now=1000, since=900, state=State.RUNNING, cpu=300)), NO_EXITS)
    assert len(table.update(heads(head(1990, Kind.SAME, id=99)), NO_EXITS).times) == 0
    last = record(now=2100, since=2100, state=State.DEAD, cpu=1500)
    assert table.update(heads(head(3000, Kind.SAME, id=99)), last).times.cpu_ns.tolist() == [1100]
    table.update(heads(head(4000, Kind.SAME, id=99)), NO_EXITS)
    assert len(table) == 0


def test_a_thread_born_and_ended_within_a_window() -> None:
    last = record(now=1500, since=1500, state=State.DEAD, cpu=20, runq=5, futex=75)
    times = ThreadTable().update(heads(head(1, Kind.SAME, id=99)), last).times
    assert (times.wall_ns[0], times.cpu_ns[0], times.runq_ns[0]) == (100, 20, 5)


def test_an_instant_told_twice_does_not_go_below_zero() -> None:
    """Told as running until 1000, but it had been blocked since 990: the next window must not get -10."""
    table = ThreadTable()
    table.update(full(record(now=1000, since=900, state=State.RUNNING, cpu=300)), NO_EXITS)
    after = record(now=2000, since=990, state=State.BLOCKED, cpu=390)
    times = table.update(full(after), NO_EXITS).times
    assert times.cpu_ns.tolist() == [0]
    assert times.wait_ns[0, FUTEX] == times.wall_ns[0] == 1000


def test_records_are_parsed_with_their_stacks() -> None:
    rows = record(now=1, since=1, state=State.BLOCKED), record(now=2, since=2, state=State.RUNNING, id=8)
    rows[0]["depth"], rows[0]["size"], rows[1]["size"] = 2, RECORD.itemsize + 16, RECORD.itemsize
    same = head(5, Kind.SAME, id=9)
    same["size"] = HEAD.itemsize
    addrs = np.array([11, 12], np.uint64).tobytes()
    told = parse(rows[0].tobytes() + addrs + same.tobytes() + rows[1].tobytes())
    assert told.full["id"].tolist() == [7, 8]
    assert told.stacks.starts.tolist() == [0, 2, 2]
    assert told.stacks.addrs.tolist() == [11, 12]
    assert told.heads["id"].tolist() == [9]
    assert len(parse(b"").full) == 0


def test_frames_up_to_the_scheduler_are_cut() -> None:
    stacks = Stacks(np.array([1, 50, 2, 3, 50, 4, 55], np.uint64), np.array([0, 3, 4, 4, 7]))
    cut = below_scheduler(stacks, CodeRange(50, 60))
    assert cut.starts.tolist() == [0, 1, 2, 2, 4]
    assert cut.addrs.tolist() == [2, 3, 4, 55]
    assert below_scheduler(stacks, CodeRange(0, 0)) is stacks


def test_the_scheduler_is_found_among_the_kernel_symbols(tmp_path: Path) -> None:
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_text(
        "ffffffff80000000 t before__schedule\n" * 40_000
        + "ffffffff81000010 t __schedule\nffffffff81000010 t alias\nffffffff81000900 T schedule\n"
    )
    assert schedule_range(kallsyms) == CodeRange(0xFFFFFFFF81000010, 0xFFFFFFFF81000900)
    kallsyms.write_text("0000000000000000 t __schedule\n0000000000000000 T schedule\n")
    assert schedule_range(kallsyms) == CodeRange(0, 0)


def test_system_calls_have_the_same_class_on_both_architectures() -> None:
    x86, arm = class_of_syscall("x86_64"), class_of_syscall("aarch64")
    assert (x86[202], arm[98]) == (FUTEX, FUTEX)
    assert WAIT_CLASSES[x86[0]] == WAIT_CLASSES[arm[63]] == "read"
    assert WAIT_CLASSES[x86[35]] == WAIT_CLASSES[arm[101]] == "sleep"
    assert set(x86) == set(arm) == {WAIT_CLASSES.index(name) for name in WAIT_CLASSES[:6]}
    assert not any(class_of_syscall("riscv64"))
