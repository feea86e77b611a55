"""Builds the BPF objects into the agent package; everything else is in pyproject.toml."""

import shutil
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBpf(build_py):
    """Compile bpf/*.bpf.c with clang before the package is collected."""

    def run(self) -> None:
        """Fail early and clearly where clang is missing: a wheel without its programs is of no use."""
        if not shutil.which("clang"):
            raise SystemExit("fleetprof: building needs clang (apt install clang llvm libbpf-dev).")
        subprocess.run(["make", "-C", "bpf"], check=True)
        super().run()


setup(cmdclass={"build_py": BuildWithBpf})
