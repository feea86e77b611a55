"""What survives a loss of power."""

import os
from pathlib import Path


def force_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk: the names of files that were made, renamed or removed in it.

    Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
