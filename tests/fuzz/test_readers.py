"""A short run of all readers but the receivers of profiles, and of the machinery of long runs."""

import signal
import subprocess
import sys
import uuid
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import run as running
from tests.fuzz import sanitized
from tests.fuzz.campaign import Campaign, Places, table
from tests.fuzz.mutate import Mutator
from tests.fuzz.run import TooMuchMemory, run
from tests.fuzz.subject import Feed, Subject, Wrong
from tests.fuzz.subjects import AGENTS, FILES, MEMORY, SUBJECTS, subject_of

INPUTS = 300
CORPUS = Path(__file__).with_name("corpus")
KILLED = """
import os
from pathlib import Path
from tests.fuzz import campaign
from tests.fuzz.test_readers import subject
campaign.subject_of = lambda name: subject(lambda data: data == b"seed" or os.kill(os.getpid(), 11))
campaign.work("kill", 0, 1, 100, campaign.Places(Path({results!r}), Path({keep!r})))
"""


@pytest.mark.parametrize("name", [*AGENTS, *FILES, *MEMORY])
def test_damaged_inputs(name: str) -> None:
    found = run(name, INPUTS, seed=uuid.uuid4().int & 0xFFFFFFFF)
    assert found.inputs / 50 < found.taken < found.inputs, "mutations are too wild or too tame"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*")), ids=lambda path: path.name)
def test_what_once_broke_a_reader(path: Path) -> None:
    """Files are named subject-what."""
    subject = subject_of(path.name.rpartition("--")[0])
    subject.feed(path.read_bytes())
    subject.settle()


def test_the_builder_of_unwind_tables_with_sanitizers(tmp_path: Path) -> None:
    driver = sanitized.build(tmp_path)
    if driver is None:
        pytest.skip("gcc with its sanitizers is not installed here")
    found = sanitized.feed(driver, 20_000, uuid.uuid4().int & 0xFFFFFFFF, tmp_path)
    assert found["rows"] > found["fdes"] > found["inputs"]


def subject(feed: Feed, **bounds: float) -> Subject:
    seeds = [b"seed"]
    return Subject(feed, seeds, lambda chance: Mutator(chance, seeds, False, False), **bounds)  # type: ignore[arg-type]


def test_what_breaks_a_reader_is_noticed() -> None:
    def broken(data: bytes) -> bool:
        if data != b"seed":
            raise Wrong("at once")
        return True

    with pytest.raises(Wrong, match="at once") as raised:
        run("broken", 1000, 1, subject(broken))
    assert "Input" in raised.value.__notes__[0]


def test_an_input_that_takes_too_long_or_too_much_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(data: bytes) -> bool:
        while data != b"seed":
            pass
        return True

    with pytest.raises(BaseException, match="too much CPU time"):
        run("hangs", 1000, 1, subject(hangs, most_cpu_s=0.1))
    fed: list[bytes] = []

    def grows(data: bytes) -> bool:
        fed.append(data)
        return True

    monkeypatch.setattr(running, "_peak_bytes", lambda: len(fed) << 20)
    with pytest.raises(TooMuchMemory, match="21 MiB"):
        run("grows", 1000, 1, subject(grows, most_bytes=20 << 20))


@pytest.mark.parametrize("name", SUBJECTS)
def test_seeds_are_real(name: str) -> None:
    """Most are taken; some are there to be refused by name."""
    found = subject_of(name)
    assert sum(map(found.feed, found.seeds)) * 3 >= len(found.seeds)


def test_equal_seeds_make_equal_inputs() -> None:
    for name in ("elf", "proc", "push"):
        found = subject_of(name)
        first, again = (found.inputs(Random(3)) for _ in range(2))
        assert [first.next() for _ in range(20)] == [again.next() for _ in range(20)]


def test_a_long_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    places = Places(tmp_path / "results", tmp_path / "kept")
    for inputs, lines in ((500, 2), (500, 2), (1000, 4)):
        Campaign(("certificate",), inputs, 1, 60.0, places, chunk_inputs=250).run()
        assert [line["seed"] for line in places.lines()] == [*range(lines)]
    assert "1,000" in table(places)
    assert not list((tmp_path / "kept").iterdir())


def test_an_input_that_ends_the_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(tmp_path / "results", tmp_path / "kept")
    script = KILLED.format(results=str(places.results), keep=str(places.keep))
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command: start([sys.executable, "-c", script]))
    Campaign(("kill",), 1, 1, 60.0, places).run()
    (line,) = places.lines()
    assert line["finding"] == f"exit code {-signal.SIGSEGV}"
    assert Path(line["input"]).read_bytes() != b"seed"
