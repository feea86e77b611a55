"""The wire contract and the Python names for it say the same, and the generated code is fresh."""

import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest

from fleetprof.frames import FrameKind
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType
from fleetprof.v1 import ingest_pb2

PROTO = Path(__file__).resolve().parents[2] / "proto"


@pytest.mark.parametrize(
    ("python", "message_name"),
    [(ProfileType, "PROFILE_TYPE"), (FrameKind, "FRAME_KIND"), (DropReason, "DROP_REASON")],
)
def test_an_enum_has_the_same_names_and_numbers_on_the_wire(python: type[IntEnum], message_name: str) -> None:
    wire = ingest_pb2.DESCRIPTOR.enum_types_by_name[python.__name__].values_by_name
    expected = {f"{message_name}_{member.name}": member.value for member in python}
    expected[f"{message_name}_UNSPECIFIED"] = 0
    assert {name: value.number for name, value in wire.items()} == expected


def test_every_reason_of_loss_is_explained() -> None:
    explanations = [reason.explanation for reason in DropReason]
    assert len(set(explanations)) == len(DropReason)


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: generated code not compared")
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *outputs, *sources]
    subprocess.run(command, check=True, cwd=PROTO)
    for fresh in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        committed = PROTO / fresh.relative_to(tmp_path)
        assert committed.exists(), f"{committed} is missing; run `make proto`"
        assert committed.read_text() == fresh.read_text(), f"{committed} is stale; run `make proto`"
