"""What holds for all tests."""

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# How long an example takes is the machine's business: a deadline would fail tests where others use its CPUs.
settings.register_profile("fleetprof", deadline=None)
settings.load_profile("fleetprof")

TOGETHER = ("tests/ui/", "tests/cluster/")
"""Tests below share servers and browsers that take 20 s of CPU to start: one process runs all of a folder."""


class ByFile(LoadFileScheduling):
    """Each file is run by one process, the files of TOGETHER by the same one."""

    def _split_scope(self, nodeid: str) -> str:
        folder = next((folder for folder in TOGETHER if nodeid.startswith(folder)), "")
        return folder or str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)
