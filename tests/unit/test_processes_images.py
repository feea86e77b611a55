"""Which image a pid ran when, and what goes first when there are too many."""

from agent.process import Process
from agent.process_images import KEEP_NS, Image, Images, Origin, mapping_of
from tests.unit import perf_record_bytes as raw


def image(pid: int, start_ns: int, end_ns: int = 0, found: bool = False) -> Image:
    return Image(pid, start_ns, Origin.EXECED, end_ns=end_ns, found=found)


def latest(images: Images, pid: int) -> Image:
    found = images.at(pid, 0)
    assert found is not None
    return found


def nobody(_: Image) -> bool:
    return False


def test_an_exec_splits_a_pid_by_time() -> None:
    images = Images(10)
    first, second = image(5, 100), image(5, 200)
    images.add(first)
    images.add(second)
    assert images.at(5, 99) is None
    assert images.at(5, 100) is first
    assert images.at(5, 199) is first
    assert images.at(5, 200) is second
    assert images.at(5, 0) is second
    assert images.at(6, 150) is None
    assert first.end_ns == 200


def test_ended_images_stay_for_thirty_seconds() -> None:
    images = Images(10)
    images.add(image(5, 100))
    images.end(latest(images, 5), 1_000)
    images.add(image(6, 100))
    images.expire(1_000 + KEEP_NS - 1, nobody)
    assert images.at(5, 500)
    images.expire(1_000 + KEEP_NS, nobody)
    assert images.at(5, 500) is None
    assert images.at(6, 500)
    assert len(images) == 1


def test_a_process_that_outlives_its_main_thread_stays() -> None:
    images = Images(10)
    for pid in (5, 6):
        images.add(image(pid, 100, found=pid == 5))
        images.end(latest(images, pid), 1_000)
    images.expire(1_000 + KEEP_NS, lambda one: one.pid == 5)
    assert images.at(5, 500)
    assert images.at(6, 500) is None
    images.expire(1_000 + 2 * KEEP_NS, nobody)
    assert images.at(5, 500) is None


def test_when_full_the_longest_ended_go_then_what_nobody_asked_for_then_none() -> None:
    images = Images(4)
    for pid in (1, 2, 3, 4):
        images.add(image(pid, pid, found=pid in (1, 4)))
    images.end(latest(images, 4), 50)
    assert images.add(image(5, 60, found=True))
    assert images.at(4, 0) is None
    assert images.add(image(6, 61, found=True))
    assert images.add(image(7, 62, found=True))
    assert {pid for pid in range(8) if images.at(pid, 0)} == {1, 5, 6, 7}
    assert not images.add(image(8, 63))
    assert len(images) == 4
    images.end(latest(images, 1), 70)
    assert images.add(image(8, 71))


def test_missed_exits_are_made_up() -> None:
    images = Images(10)
    for pid in (1, 2):
        images.add(image(pid, 10))
    images.end_missing([2, 3], 99)
    assert latest(images, 1).end_ns == 99
    assert latest(images, 2).end_ns == 0


def test_records_become_mappings_of_the_process_in_a_new_list() -> None:
    one = image(5, 10)
    one.process = Process(5, 5, 10, "x", "/bin/x")
    shown = one.process.mappings
    one.records = [raw.mmap2(5, 0x1000, 0x1000, inode=7), raw.mmap2(5, 0x3000, 0x1000, path=b"//anon")]
    one.settle()
    assert shown == []
    assert [(m.start_addr, m.path) for m in one.process.mappings] == [(0x1000, "/bin/x"), (0x3000, "")]
    assert one.records == []


def test_a_mapping_past_the_end_of_memory_is_cut() -> None:
    assert mapping_of(raw.mmap2(1, 2**64 - 4096, 2**63)).end_addr == 2**64 - 1
