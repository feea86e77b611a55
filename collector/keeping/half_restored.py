"""What a restore that was interrupted leaves is known as such: no collector starts on it, and it can be begun anew.

Two marks come before anything else and go, or are outdone, after all else: a file in the data folder, and in the
store the record of a migration 0 alone (migrate.py). The first gives a restore the right to replace the folder's
files, the second that to drop the store's tables.
"""

import json
import shutil
from pathlib import Path

from collector.debuginfo.files import FOLDER as DEBUGINFO
from collector.keeping.backup_writing import force_folder, forced
from collector.keeping.kept_files import files_there
from fleetprof.errors import UnavailableError

_MARK = "restoring.json"


def is_marked(data: Path) -> bool:
    """Whether a restore into the data folder has begun and not ended."""
    return (data / _MARK).exists()


def refuse_half_restored(data: Path) -> None:
    """Raise UnavailableError where a restore into the data folder was interrupted."""
    if is_marked(data):
        raise UnavailableError(
            f"The data in {data} is not whole: the restore of {_backup(data)} was interrupted.",
            f"Start it again, it begins anew: fleetprof-collector restore {_backup(data)}",
        )


def mark(data: Path, backup: Path) -> None:
    """A restore begins; raises OSError."""
    part = (data / _MARK).with_suffix(".part")
    part.unlink(missing_ok=True)
    with forced(part) as file:
        file.write(json.dumps({"backup": str(backup.absolute())}).encode("utf-8"))
    part.rename(data / _MARK)
    force_folder(data)


def remove_files(data: Path) -> None:
    """Remove what a marked restore has put into the folder; raises OSError."""
    for path in files_there(data):
        path.unlink()
    if (data / DEBUGINFO).exists():
        shutil.rmtree(data / DEBUGINFO)


def unmark(data: Path) -> None:
    """All is there; raises OSError."""
    (data / _MARK).unlink()
    force_folder(data)


def _backup(data: Path) -> str:
    """The backup's folder, as far as it is known."""
    try:
        return str(json.loads((data / _MARK).read_text("utf-8"))["backup"])
    except (OSError, ValueError, KeyError, TypeError):
        return "FOLDER"
