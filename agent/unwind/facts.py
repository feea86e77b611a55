"""What `doctor` says about unwinding on this host."""

from pathlib import Path

from agent.host_facts import Fact
from agent.unwind.cfi_library import load_library
from agent.unwind.program import SAMPLES, load_samples
from agent.unwind.table_files import ENDING
from fleetprof.errors import UnavailableError

NAME = "unwinding"


def unwinding(wanted: str, folder: Path, program: Path = SAMPLES) -> Fact:
    """Whether user stacks can be unwound by tables, and whether they are; tried by loading the program.

    `folder`: where tables are kept.
    """
    try:
        load_samples(program=program).close()
    except UnavailableError as error:
        advice = (
            "" if wanted == "off" else "Stacks follow frame pointers only; code built without them is cut."
        )
        return Fact(NAME, f"not possible here: {error.message}", wanted == "off", advice)
    if wanted == "off":
        return Fact(NAME, "possible, and turned off", True, "Set unwind = auto for whole stacks.")
    return Fact(NAME, f"by .eh_frame; {_kept(folder)}; {_builder()}")


def _kept(folder: Path) -> str:
    try:
        sizes = [path.stat().st_size for path in folder.glob(f"*{ENDING}")]
    except OSError:
        sizes = []
    return f"{len(sizes)} tables kept in {folder}, {sum(sizes) / (1 << 20):.1f} MiB"


def _builder() -> str:
    try:
        load_library()
    except UnavailableError as error:
        return f"tables are built in Python, slowly ({error.message.rstrip('.')})"
    return "tables are built in C"
