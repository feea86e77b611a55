"""fleetprof-collector debuginfo, against a running collector with tokens and on the data folder."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from collector.cli import main
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc
from tests.store.test_ingest_command import running
from tests.workloads.stripped import Stripped, build_stripped

pytestmark = pytest.mark.store

Header = debuginfo_pb2.UploadDebugInfoHeader
Request = debuginfo_pb2.UploadDebugInfoRequest


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


def debuginfo(*arguments: object) -> int:
    return main(["debuginfo", *map(str, arguments)])


def token(data: Path, scope: str) -> Path:
    path = data / f"{scope}.token"
    assert main(["token", "create", scope, "--scope", scope, "-o", str(path), "--data", str(data)]) == 0
    return path


def test_upload_list_and_remove_with_a_token(
    files: Stripped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, "--auth", "tokens") as (_, address):
        admin = ("--to", address, "--token-file", token(tmp_path, "admin"))
        ingest = ("--to", address, "--token-file", token(tmp_path, "ingest"))
        for who, said in ((ingest, "needs one for admin"), (admin[:2], "asks for a token")):
            assert debuginfo("upload", files.debug, *who) == 3
            assert said in capsys.readouterr().err
        text = tmp_path / "notes.txt"
        text.write_text("no ELF file")
        assert debuginfo("upload", files.debug, text, files.stripped, *admin) == 2
        kept = capsys.readouterr().out
        assert kept.splitlines()[0] == f"{files.debug}: {files.build_id}"
        assert f"{text}: The file cannot be read: it is no ELF file." in kept
        assert f"{files.stripped}: {files.build_id} is there with lines" in kept
        assert debuginfo("list", *admin) == 0
        listed = capsys.readouterr().out
        assert f"{files.build_id}  {files.debug.stat().st_size / 1024:.1f} KiB  lines" in listed
        assert debuginfo("list", "--data", tmp_path) == 0
        assert capsys.readouterr().out == listed
        assert debuginfo("remove", files.build_id, *admin) == 0
        assert capsys.readouterr().out == f"Removed {files.build_id}.\n"
        assert debuginfo("remove", files.build_id, *admin) == 2
        assert "There is no debug file" in capsys.readouterr().err


def test_without_a_collector_the_folder_is_filled(
    files: Stripped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = ("upload", files.whole, "--data", tmp_path)
    assert debuginfo(*upload) == 0
    assert capsys.readouterr().out == f"{files.whole}: {files.build_id}\n"
    for size, said in ((1000, "cannot be kept"), (0, "keeps no debug files")):
        assert debuginfo(*upload, "--debuginfo-size", size) == 2
        assert said in capsys.readouterr().out
    assert debuginfo("list", "--to", "127.0.0.1:1") == 3
    assert "Check --to" in capsys.readouterr().err


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[debuginfo_pb2_grpc.DebugInfoServiceStub]:
    data = tmp_path_factory.mktemp("collector")
    with running(data) as (_, address), grpc.insecure_channel(address) as channel:
        yield debuginfo_pb2_grpc.DebugInfoServiceStub(channel)


def test_a_file_of_another_build_is_refused(
    files: Stripped, stub: debuginfo_pb2_grpc.DebugInfoServiceStub
) -> None:
    data = files.debug.read_bytes()
    claimed = Header(build_id="ab" * 20, name="../../evil", size=len(data))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Upload(iter([Request(header=claimed), Request(data=data)]), timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"The file's build id is {files.build_id}, not {'ab' * 20}." in refused.value.details()
    assert not stub.List(debuginfo_pb2.ListDebugInfoRequest()).files
    claimed.build_id = files.build_id
    kept = stub.Upload(iter([Request(header=claimed), Request(data=data)]), timeout=60)
    assert (kept.status, kept.file.name) == (debuginfo_pb2.UploadDebugInfoResponse.STATUS_KEPT, "evil")


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "begins with its header"),
        ([Request(data=b"x")], "begins with its header"),
        ([Request(header=Header(size=10))], "other"),
        ([Request(header=Header(size=10)), Request(data=b"x" * 11)], "other"),
        ([Request(header=Header(size=10)), Request(data=b"x" * 9)], "other"),
        ([Request(header=Header(size=1 << 21)), Request(data=b"x" * (1 << 21))], "at most 1 MiB"),
        ([Request(header=Header(size=10)), Request(header=Header(size=10))], "parts are data"),
        ([Request(header=Header(size=0))], "cannot be kept"),
        ([Request(header=Header(size=1 << 62))], "cannot be kept"),
        ([Request(header=Header(size=1, build_id="../x")), Request(data=b"x")], "no build id"),
    ],
)
def test_malformed_uploads_are_told_why(
    requests: list[Request], said: str, stub: debuginfo_pb2_grpc.DebugInfoServiceStub
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Upload(iter(requests), timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.value.details()
