"""The shipper against a real gRPC server: nothing is lost while it is away, nothing is sent out of order."""

import threading
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from agent.aggregate import ClosedWindow
from agent.connection import Connection
from agent.ship import Sender, Shipper
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
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
        self.known = 0
        self.changed = threading.Condition()

    def Push(self, request: ingest_pb2.PushRequest, context: grpc.ServicerContext) -> Response:
        with self.changed:
            if self.refuse:
                context.abort(self.refuse.pop(0), "as the test wants it")
            self.requests.append(request)
            self.changed.notify_all()
            self.known += len(request.definitions.stacks.depth)
            if self.known < len(request.window.stack_ids):
                return Response(
                    status=Response.STATUS_NEED_DEFINITIONS,
                    unknown_stacks=request.window.stack_ids,
                    unknown_series=request.window.series_ids,
                )
            return Response(status=Response.STATUS_ACCEPTED)

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


def shipper(port: int, limit: int = 10) -> Shipper:
    return Shipper(Connection(Address("127.0.0.1", port)), Sender("agent-1", 42, "host-1"), limit)


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
