"""The shipper against a real gRPC server: nothing is lost while it is away, nothing is sent out of order."""

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from agent import spool as spooling
from agent.aggregate import ClosedWindow
from agent.backlog import Backlog
from agent.connection import Connection
from agent.push import Sender
from agent.pushback import asked_s
from agent.ship import ASKED_SPREAD, Patience, Shipper
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.e2e.product import wait_until
from tests.unit.rows import Row
from tests.unit.test_encode import window

MAIN = Frame(FrameKind.NATIVE, "main", "app")
OTHER = Frame(FrameKind.NATIVE, "other", "app")
Response = ingest_pb2.PushResponse


class Collector(ingest_pb2_grpc.IngestServiceServicer):
    """Keeps every request; asks for definitions it lacks; `refuse` codes are used up first."""

    def __init__(self) -> None:
        self.requests: list[ingest_pb2.PushRequest] = []
        self.refuse: list[grpc.StatusCode] = []
        self.pushback_ms = ""
        self.known = 0
        self.known_numbers = 0
        self.numbers_lost = False
        self.refused_s: list[float] = []
        self.changed = threading.Condition()

    def Push(self, request: ingest_pb2.PushRequest, context: grpc.ServicerContext) -> Response:
        with self.changed:
            if self.refuse:
                self.refused_s.append(time.monotonic())
                context.set_trailing_metadata((("grpc-retry-pushback-ms", self.pushback_ms),))
                context.abort(self.refuse.pop(0), "as the test wants it")
            self.requests.append(request)
            self.changed.notify_all()
            if self.numbers_lost:
                self.numbers_lost = False
                return Response(status=Response.STATUS_NEED_DEFINITIONS)
            self.known += len(request.definitions.stacks.depth)
            if self.known < len(request.window.stack_ids):
                return Response(
                    status=Response.STATUS_NEED_DEFINITIONS,
                    unknown_stacks=request.window.stack_ids,
                    unknown_series=request.window.series_ids,
                )
            return Response(status=Response.STATUS_ACCEPTED, known_numbers=self.known_numbers)

    def wait_for(self, count: int) -> list[ingest_pb2.PushRequest]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, timeout=20)
            return list(self.requests)


def serve(collector: Collector, address: str = "127.0.0.1:0") -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(collector, server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port


@pytest.fixture
def collector() -> Iterator[tuple[Collector, int]]:
    servicer = Collector()
    server, port = serve(servicer)
    yield servicer, port
    server.stop(None)


def shipper(
    port: int,
    limit: int = 10,
    spool: Path | None = None,
    run_id: int = 42,
    spool_after_s: float = 30.0,
    catch_up_rate: float = 1000.0,
) -> Shipper:
    patience = Patience(limit, spool_after_s, catch_up_rate)
    backlog = Backlog(spool, 1 << 20) if spool else None
    return Shipper(
        Connection(Address("127.0.0.1", port)), Sender("agent-1", run_id, "host-1"), patience, backlog
    )


def some_window(*frames: Frame) -> ClosedWindow:
    return window([Row()], [[frame] for frame in frames], [{"host": "host-1"}])


def test_definitions_are_sent_once_and_again_when_asked_for(collector: tuple[Collector, int]) -> None:
    servicer, port = collector
    ship = shipper(port)
    ship.offer(some_window(MAIN))
    ship.offer(some_window(MAIN))
    first, second = servicer.wait_for(2)
    assert (first.sequence, second.sequence) == (1, 2)
    assert list(first.definitions.stacks.depth) == [1]
    assert list(second.definitions.stacks.depth) == []
    with servicer.changed:
        servicer.known = 0  # the collector forgets
    ship.offer(some_window(MAIN))
    third, again = servicer.wait_for(4)[2:]
    assert (third.sequence, again.sequence) == (3, 3)
    assert list(again.definitions.stacks.depth) == [1]
    assert ship.close(5) == 0


def test_numbers_are_used_where_the_collector_holds_them_and_only_there(
    collector: tuple[Collector, int],
) -> None:
    servicer, port = collector
    ship = shipper(port)

    def push(known_numbers: int, refuse: list[grpc.StatusCode]) -> list[ingest_pb2.PushRequest]:
        with servicer.changed:
            servicer.known_numbers, servicer.refuse = known_numbers, refuse
            before = len(servicer.requests)
        ship.offer(some_window(MAIN, OTHER))
        assert ship.flush(20)
        return servicer.wait_for(before + 1)[before:]

    def numbered(requests: list[ingest_pb2.PushRequest]) -> list[int]:
        return [len(request.window.stack_numbers) for request in requests]

    assert numbered(push(2, [])) == [0]
    assert numbered(push(2, [])) == [2]
    # One that restarted lacks them, and then again holds them.
    with servicer.changed:
        servicer.numbers_lost = True
    assert numbered(push(0, [])) == [2, 0]
    assert numbered(push(2, [])) == [0]
    assert numbered(push(2, [])) == [2]
    # An older one refuses what it cannot read: nothing is lost, and it gets ids.
    assert numbered(push(0, [grpc.StatusCode.INVALID_ARGUMENT])) == [0]
    assert numbered(push(0, [])) == [0]
    assert not ship.take_losses()
    assert ship.close(5) == 0


def test_windows_wait_for_a_collector_that_is_away_and_keep_their_order() -> None:
    servicer = Collector()
    server, port = serve(servicer)
    server.stop(None).wait()
    ship = shipper(port)
    for _ in range(3):
        ship.offer(some_window(MAIN, OTHER))
    server, _ = serve(servicer, f"127.0.0.1:{port}")
    assert [request.sequence for request in servicer.wait_for(3)] == [1, 2, 3]
    assert ship.close(5) == 0
    server.stop(None)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    server, port = serve(Collector())
    server.stop(None).wait()
    ship = shipper(port, limit=2)
    for _ in range(5):
        ship.offer(some_window(MAIN))
    assert ship.take_losses() == {DropReason.QUEUE_FULL: 3}
    assert ship.take_losses() == {}
    assert ship.close(0) == 2


def test_a_window_refused_for_good_is_counted_and_does_not_block_the_next(
    collector: tuple[Collector, int],
) -> None:
    servicer, port = collector
    servicer.refuse = [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT]
    ship = shipper(port)
    ship.offer(some_window(MAIN))
    ship.offer(some_window(MAIN))
    (second,) = servicer.wait_for(1)
    assert second.sequence == 2
    assert ship.close(5) == 0
    assert ship.take_losses() == {DropReason.REJECTED: 1}


def test_windows_that_waited_long_are_on_disk_and_a_later_run_sends_them_as_they_were(tmp_path: Path) -> None:
    servicer = Collector()
    server, port = serve(servicer)
    server.stop(None).wait()
    first = shipper(port, spool=tmp_path, spool_after_s=0.01)
    for _ in range(3):
        first.offer(some_window(MAIN, OTHER))
    wait_until(lambda: first.on_disk == 3, "three windows on disk")
    # No orderly end: what a kill leaves is what is on disk now.
    assert first.waiting == 3
    first.close(0)
    server, _ = serve(servicer, f"127.0.0.1:{port}")
    second = shipper(port, spool=tmp_path, run_id=43)
    requests = servicer.wait_for(3)
    assert sorted((request.run_id, request.sequence) for request in requests) == [(42, 1), (42, 2), (42, 3)]
    assert [list(request.definitions.stacks.depth) for request in requests] == [[1, 1]] * 3
    wait_until(lambda: second.waiting == 0, "nothing on disk")
    assert second.acknowledged.windows == 0, "only windows of this run count"
    second.close(0)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]
    server.stop(None)


def test_the_end_puts_on_disk_what_was_not_sent(tmp_path: Path) -> None:
    server, port = serve(Collector())
    server.stop(None).wait()
    ship = shipper(port, spool=tmp_path)
    for _ in range(3):
        ship.offer(some_window(MAIN))
    assert ship.close(0) == 0
    assert ship.on_disk == 3


def test_new_windows_go_before_those_on_disk(tmp_path: Path) -> None:
    servicer = Collector()
    servicer.known = 1 << 30
    server, port = serve(servicer)
    server.stop(None).wait()
    ship = shipper(port, spool=tmp_path)
    for _ in range(5):
        ship.offer(some_window(MAIN))
    ship.close(0)
    server, _ = serve(servicer, f"127.0.0.1:{port}")
    again = shipper(port, spool=tmp_path, run_id=43, catch_up_rate=0.05)
    assert servicer.wait_for(1)[0].run_id == 42
    for _ in range(3):
        again.offer(some_window(MAIN))
    order = [(request.run_id, request.sequence) for request in servicer.wait_for(4)]
    assert order == [(42, 1), (43, 1), (43, 2), (43, 3)]
    assert again.on_disk == 4
    again.close(0)
    server.stop(None)


class InPairs(Collector):
    """Answers a push only when another one has come."""

    def __init__(self) -> None:
        super().__init__()
        self.known = 1 << 30
        self.pairs = threading.Barrier(2)

    def Push(self, request: ingest_pb2.PushRequest, context: grpc.ServicerContext) -> Response:
        self.pairs.wait(20)
        return super().Push(request, context)


def test_windows_on_disk_are_sent_together_and_each_leaves_when_it_is_stored(tmp_path: Path) -> None:
    """One after the other they would wait for a batch each, whatever the rate."""
    server, port = serve(Collector())
    server.stop(None).wait()
    ship = shipper(port, spool=tmp_path)
    for _ in range(4):
        ship.offer(some_window(MAIN))
    ship.close(0)
    servicer = InPairs()
    servicer.refuse = [grpc.StatusCode.UNAVAILABLE] * 2  # so that two of them come again
    server, _ = serve(servicer, f"127.0.0.1:{port}")
    again = shipper(port, spool=tmp_path, run_id=43)
    wait_until(lambda: again.on_disk == 0, "nothing on disk")
    assert sorted(request.sequence for request in servicer.requests) == [1, 2, 3, 4]
    again.close(0)
    server.stop(None)


def test_a_collector_that_answers_means_no_disk(collector: tuple[Collector, int], tmp_path: Path) -> None:
    servicer, port = collector
    ship = shipper(port, spool=tmp_path, spool_after_s=0.001)
    for _ in range(5):
        ship.offer(some_window(MAIN))
    servicer.wait_for(5)
    assert ship.close(5) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_once_and_windows_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spooling.os, "pwrite", full)
    monkeypatch.setattr("agent.ship._DISK_AGAIN_S", 0.0)
    servicer = Collector()
    server, port = serve(servicer)
    server.stop(None).wait()
    ship = shipper(port, limit=2, spool=tmp_path, spool_after_s=0.001)
    with caplog.at_level(logging.INFO, "fleetprof"):
        for _ in range(3):
            ship.offer(some_window(MAIN))
        wait_until(lambda: "Cannot write windows to disk: No space left" in caplog.text, "a word about it")
        server, _ = serve(servicer, f"127.0.0.1:{port}")
        # The oldest goes, but for one that may be on its way just then.
        assert [request.sequence for request in servicer.wait_for(2)] in ([2, 3], [1, 3])
        assert ship.close(5) == 0
    assert caplog.text.count("Cannot write windows to disk") == 1
    assert ship.take_losses() == {DropReason.QUEUE_FULL: 1}
    server.stop(None)


def test_the_collectors_pause_is_kept(
    collector: tuple[Collector, int], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, port = collector
    servicer.pushback_ms = "700"
    servicer.refuse = [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE]
    ship = shipper(port)
    ship.offer(some_window(MAIN))
    servicer.wait_for(1)
    ended_s = time.monotonic()
    first, second = servicer.refused_s
    assert second - first >= 0.7
    assert ended_s - second >= 0.7
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "once for both"
    assert "asks to come later: as the test wants it. Windows wait" in said[0]
    assert ship.close(5) == 0
    assert ASKED_SPREAD > 1


class Answer(grpc.RpcError):
    def __init__(self, *trailers: tuple[str, str]) -> None:
        self.trailers = trailers

    def trailing_metadata(self) -> object:
        return self.trailers


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [("250", 0.25), ("-1", 0), ("nan", 0), ("inf", 0), ("soon", 0), ("", 0), ("1e30", 300), ("9999999", 300)],
)
def test_a_pause_that_makes_no_sense_is_no_pause(text: str, pause_s: float) -> None:
    assert asked_s(Answer(("other", "1"), ("grpc-retry-pushback-ms", text))) == pause_s
    assert asked_s(Answer()) == 0


def test_the_end_does_not_wait_for_a_collector_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends an agent kills it after a while: what waits is on disk before, though a push hangs."""
    hanging, go_on = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hanging.set()
        go_on.wait(60)

    monkeypatch.setattr(Connection, "failed", hang)
    monkeypatch.setattr("agent.ship._END_S", 0.01)
    server, port = serve(Collector())
    server.stop(None).wait()
    ship = shipper(port, spool=tmp_path)
    for _ in range(3):
        ship.offer(some_window(MAIN))
    assert hanging.wait(20)
    assert ship.close(0) == 0
    assert ship.on_disk == 3
    later = Backlog(tmp_path, 1 << 20)
    go_on.set()
    wait_until(lambda: not ship._thread.is_alive(), "the end of the thread")
    assert later.waiting == 3, "the thread that hung writes nothing more"
    later.close()
