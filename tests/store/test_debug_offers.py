"""Agents that send debug files to a running collector, with tokens; and who may administer one without."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.config import TABLE, AgentConfig
from agent.connection import Connection
from agent.debug_offers.facts import debug_files
from agent.debug_offers.limits import OfferLimits
from agent.debug_offers.offering import DebugOffers
from agent.debug_offers.sightings import Sightings
from agent.push import Sender
from agent.symbolize.elf import FileBytes
from agent.symbolize.load_object import load_object
from agent.symbolize.object_cache import file_key
from agent.token import Token
from collector.tokens.local_admin import is_local
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import parse_address
from fleetprof.settings import load_settings
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc
from tests.e2e.product import Command, wait_until
from tests.store.test_debuginfo_command import token
from tests.store.test_ingest_command import running
from tests.workloads.stripped import Stripped, build_stripped

pytestmark = pytest.mark.store

LIMITS = OfferLimits(64 << 20, 1 << 20)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


@contextmanager
def agent(
    address: str, name: str, token_file: Path, limits: OfferLimits = LIMITS
) -> Iterator[tuple[Any, Any]]:
    """An agent's offers, and what tells it that a file was sampled."""
    connection = Connection(parse_address(address), token=Token(path=token_file))
    sightings = Sightings()
    offers = DebugOffers(connection, Sender(name, 1, name), sightings, limits, lambda: 0, look_every_s=0.05)

    def see(path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            symbols = load_object(FileBytes(fd), str(path), (), 1 << 20)
            frame = Frame(FrameKind.NATIVE, "", path.name, symbols.build_id, 1)
            sightings.see(file_key(fd), fd, str(path), os.getpid(), symbols, [frame])
        finally:
            os.close(fd)

    wait_until(lambda: sightings._on, "the collector takes files")
    try:
        yield offers, see
    finally:
        offers.close()
        connection.close()


def header(token_file: Path) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token_file.read_text().strip()}"),)


def kept(data: Path, build_id: str) -> bool:
    return (data / "debuginfo" / f"{build_id}.json").exists()


def test_a_file_is_sent_once_by_agents_with_tokens(
    built: Stripped, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And neither again nor by others after a restart of the collector."""
    with running(tmp_path, "--auth", "tokens") as (_, address):
        ingest, read = token(tmp_path, "ingest"), token(tmp_path, "read")
        refuses_without_scope_ingest(address, read)
        assert told(address, ingest) == "offered; the collector asks for those it needs"
        assert "offered, but not taken: The token" in told(address, read)
        drops_what_cannot_be_sent(address, ingest, build_stripped("cpp", tmp_path, "-O1"))
        said = [record.getMessage() for record in caplog.records if "is not sent" in record.getMessage()]
        assert [("larger than" in text, "it changed" in text) for text in said] == [
            (True, False),
            (False, True),
        ]
        assert not kept(tmp_path, built.build_id)
        with agent(address, "one", ingest) as (one, see_one), agent(address, "two", ingest) as (two, see_two):
            see_one(built.whole)
            see_two(built.whole)
            wait_until(lambda: one.sent.files + two.sent.files, "one of them sent it")
            assert kept(tmp_path, built.build_id)
            assert one.sent.files + two.sent.files == 1
            sent = one.sent.bytes + two.sent.bytes
            assert 0 < sent < built.whole.stat().st_size
            assert not one.take_losses() + two.take_losses()
    with (
        running(tmp_path, "--auth", "tokens") as (_, address),
        agent(address, "three", ingest) as (three, see),
    ):
        see(built.whole)
        wait_until(lambda: built.build_id in three._settled, "it is settled")
        assert three.sent == (0, 0)
    assert told(address, ingest) == "offered, but not taken: the collector does not answer"


def refuses_without_scope_ingest(address: str, read: Path) -> None:
    request = debuginfo_pb2.OfferDebugInfoRequest(agent_id="a")
    part = debuginfo_pb2.SendDebugInfoPartRequest(claim=1, data=b"x")
    with grpc.insecure_channel(address) as channel:
        stub = debuginfo_pb2_grpc.DebugOfferServiceStub(channel)  # type: ignore[no-untyped-call]
        for call, message in ((stub.Offer, request), (stub.SendPart, part)):
            for shown, code in (((), "UNAUTHENTICATED"), (header(read), "PERMISSION_DENIED")):
                with pytest.raises(grpc.RpcError) as refused:
                    call(message, metadata=shown, timeout=30)
                assert refused.value.code().name == code


def drops_what_cannot_be_sent(address: str, ingest: Path, built: Stripped) -> None:
    """Counted, and settled by that: not offered again."""
    with agent(address, "small", ingest, OfferLimits(1 << 20, 1000)) as (offers, see):
        see(built.whole)
        wait_until(lambda: offers._settled, "it is settled")
        assert offers.take_losses() == {DropReason.DEBUG_FILE: 1}
    with agent(address, "slow", ingest, OfferLimits(1000, 1 << 20)) as (offers, see):
        see(built.whole)
        wait_until(lambda: offers.sent.bytes, "it is being sent")
        os.utime(built.whole, (1, 1))
        wait_until(lambda: offers._settled, "it is settled")
        assert offers.take_losses() == {DropReason.DEBUG_FILE: 1}
        assert offers.sent.files == 0


def told(address: str, token_file: Path) -> str:
    """What doctor says of an agent with this token."""
    flags = {"collector": address, "token_file": str(token_file)}
    return debug_files(load_settings(TABLE, AgentConfig, flags, {}).config).found


NETWORK, OTHER = "fleetprof-admin", "198.51.100.7"


@pytest.fixture
def network() -> Iterator[None]:
    """A network namespace in which this machine has an address that is not the loopback's."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    subprocess.run(["ip", "netns", "add", NETWORK], check=True)
    try:
        for command in (("link", "set", "lo", "up"), ("addr", "add", f"{OTHER}/32", "dev", "lo")):
            subprocess.run(["ip", "-n", NETWORK, *command], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NETWORK], check=True)


def test_without_tokens_only_this_machine_administers(built: Stripped, tmp_path: Path, network: None) -> None:
    local, other, build_id = ("--to", "127.0.0.1:4040"), ("--to", f"{OTHER}:4040"), built.build_id
    shown = {scope: ("--token-file", tmp_path / f"{scope}.token") for scope in ("admin", "ingest")}
    create = [
        ("token", "create", scope, "--scope", scope, "-o", path, "--data", tmp_path)
        for scope, (_, path) in shown.items()
    ]
    upload, listing = ("debuginfo", "upload", built.debug), ("debuginfo", "list")
    remove = ("debuginfo", "remove", build_id)
    ours = "from the collector's own machine only"
    calls: list[tuple[tuple[object, ...], int, str]] = [
        ((*upload, *other), 3, ours),
        ((*listing, *other), 3, ours),
        ((*remove, *other), 3, ours),
        ((*upload, *local), 0, build_id),
        ((*listing, *local), 0, " command "),
        (create[0], 0, ""),
        (create[1], 0, ""),
        ((*remove, *other), 3, ours),
        ((*remove, *other, *shown["ingest"]), 3, "needs one for admin"),
        ((*listing, *other, *shown["admin"]), 0, build_id),
        ((*remove, *other, *shown["admin"]), 0, f"Removed {build_id}"),
    ]
    collector = Command(
        "fleetprof-collector", "run", "--grpc", "0.0.0.0:4040", "--data", tmp_path, network=NETWORK
    )
    try:
        collector.wait_to_say("Taking profiles on", 120)
        command = ["ip", "netns", "exec", NETWORK, sys.executable, "-m", "tests.store.debuginfo_calls"]
        asked = json.dumps([[str(word) for word in arguments] for arguments, _, _ in calls])
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=300, check=True)
        for (arguments, code, said), found in zip(calls, json.loads(done.stdout), strict=True):
            assert found[0] == code, (arguments, found)
            assert said in found[1], (arguments, found)
        assert "Traceback" not in collector.said
    finally:
        collector.kill()


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv4:127.8.8.8:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv6:[::ffff:127.0.0.1]:4711", True),
        ("unix:/run/x", True),
        ("unix:", True),
        ("ipv6:%5B::ffff:10.0.0.1%5D:4711", False),
        ("ipv4:10.0.0.1:4711", False),
        ("ipv6:[fe80::1%25lo]:4711", False),
        ("", False),
        ("inproc:127.0.0.1", False),
        ("ipv4:localhost:1", False),
    ],
)
def test_who_is_of_this_machine(peer: str, local: bool) -> None:
    assert is_local(peer) == local
