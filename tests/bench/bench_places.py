"""What values by line of source cost: bytes on the wire and on disk, with and without a window's heaviest places.

    make bench        or        .venv/bin/python -m tests.bench.bench_places [HOSTS] [WINDOWS] [PLACES]

Simulated hosts after an hour, as in bench_wire; places inside their functions are invented: some tens each, few
of which have most of its samples. Each window goes through the collector's whole path into a store of its own.
"""

import sys
import tempfile
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.aggregate import ClosedWindow
from agent.encode import encode_definitions, encode_window
from agent.encode_places import encode_places
from agent.places import Places
from agent.run_numbers import Encoded
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
from fleetprof.frames import Frame, FrameKind
from fleetprof.profile_types import ProfileType
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import ingest_pb2
from query_ui.simulate.agents import Agents
from query_ui.simulate.draw import Drawer
from query_ui.simulate.fleet import Host, Plan, make_fleet
from tests.bench.bench_wire import holding_all, packed

WARM_WINDOWS = 360
HOSTS, WINDOWS, SERVICES, PLACES = 6, 20, 8, 200
_STEP_NS = 1 << 20
_IN_FILES = (FrameKind.NATIVE, FrameKind.GO, FrameKind.RUST)


def places_of(window: ClosedWindow, chance: np.random.Generator, most: int) -> Places:
    """Invented places of a window's CPU samples, the `most` heaviest."""
    sums: Counter[tuple[int, int, str, int]] = Counter()
    rows = window.rows
    for row in np.flatnonzero((rows.type == ProfileType.CPU) & (rows.captures > 0)).tolist():
        stack = int(rows.stack[row])
        leaf = window.frames[window.stacks[stack][0]]
        if not leaf.function or leaf.kind not in _IN_FILES:
            continue
        count = int(rows.captures[row])
        for place in (chance.zipf(1.5, count) % (8 + zlib.crc32(leaf.function.encode()) % 40)).tolist():
            key = int(rows.series[row]), stack, leaf.mapping, offset_of(leaf, place)
            sums[key] += int(rows.value[row]) // count // _STEP_NS * _STEP_NS
    heaviest = sorted(key for key, _ in sums.most_common(most))
    builds = sorted({build for _, _, build, _ in heaviest})
    return Places(
        [f"{zlib.crc32(build.encode()):08x}" * 5 for build in builds],
        np.array([key[0] for key in heaviest], np.uint32),
        np.array([key[1] for key in heaviest], np.uint32),
        np.array([builds.index(key[2]) for key in heaviest], np.uint32),
        np.array([key[3] for key in heaviest], np.uint64),
        np.array([sums[key] for key in heaviest], np.uint64),
    )


def offset_of(leaf: Frame, place: int) -> int:
    """Where the place is: a function has up to 4 KiB of code somewhere in the first 16 MiB."""
    spread = zlib.crc32(f"{leaf.function} {place}".encode()) % 4096
    return zlib.crc32(leaf.function.encode()) % (16 << 20) + spread


@dataclass
class Sizes:
    """Bytes of all measured windows on the wire, with and without places."""

    windows: int = 0
    rows: int = 0
    places: int = 0
    without: int = 0
    with_places: int = 0


def measure(hosts: int, windows: int, most: int, folder: Path) -> Sizes:
    """Print what places cost."""
    end_s = int(time.time()) // 10 * 10
    length_s = 10 * (WARM_WINDOWS + windows + 1)
    fleet = make_fleet(Plan(hosts, SERVICES, end_s - length_s, end_s))
    drawer, agents, chance, sizes = Drawer(fleet), Agents(fleet), np.random.default_rng(1), Sizes()
    store = ChdbStore(folder / "data")
    migrate(store)
    known, ledger = KnownDefinitions(store), LossLedger()
    committer = Committer(store, Journal(folder / "journal"), known, ledger)
    pipeline = Pipeline(known, committer, ledger, Limits())
    with ThreadPoolExecutor(64) as pushes:
        for host in fleet.hosts:
            run = host.runs[0]
            start_s = max(run.start_s, end_s - length_s)
            for number, drawn in enumerate(drawer.draw(host, start_s, WARM_WINDOWS + windows)):
                out = agents.outgoing(host, run, drawn, start_s + 10 * number)
                agents.answered(out, holding_all(out.numbered))
                if number < WARM_WINDOWS:
                    continue
                whole = drawn.whole(fleet.book)
                whole.places = places_of(whole, chance, most)
                sizes.windows += 1
                sizes.rows += len(whole.rows)
                sizes.places += len(whole.places)
                sizes.without += packed(out.data)
                sizes.with_places += packed(with_places(out.data, out.numbered, whole))
                pushes.submit(pipeline.push, whole_request(host, run.run_id, number + 1, whole))
    assert committer.stop(120)
    report(sizes, store)
    store.close()
    return sizes


def with_places(data: bytes, sent: Encoded | None, window: ClosedWindow) -> bytes:
    """The request with the window's places, for stacks in the order in which they are numbered."""
    assert sent
    assert window.places
    request = ingest_pb2.PushRequest.FromString(data)
    ids = dict(zip(window.stack_ids, range(len(window.stack_ids)), strict=True))
    # Numbered stacks come first; which of them is which matters little for the size.
    listed = [ids[id_] for id_ in request.window.stack_ids]
    others = [place for place in range(len(window.stack_ids)) if place not in set(listed)]
    place_of = np.empty(len(window.stack_ids), np.int64)
    place_of[others + listed] = np.arange(len(window.stack_ids))
    request.window.places.CopyFrom(encode_places(window.places, place_of))
    return request.SerializeToString()


def whole_request(host: Host, run_id: int, sequence: int, window: ClosedWindow) -> bytes:
    """The request with all definitions, which any collector takes."""
    return ingest_pb2.PushRequest(
        protocol_version=PROTOCOL_VERSION,
        agent_id=host.agent_id,
        run_id=run_id,
        sequence=sequence,
        window=encode_window(window, host.name),
        definitions=encode_definitions(window, set(window.stack_ids), set(window.series_ids)),
    ).SerializeToString()


def report(sizes: Sizes, store: ChdbStore) -> None:
    """Print bytes of a row and of a place, and what a host and day cost."""
    windows = sizes.windows
    print(
        f"\n{windows} windows: {sizes.rows / windows:.0f} rows and {sizes.places / windows:.0f} places each"
    )
    more = sizes.with_places - sizes.without
    print(f"wire: {sizes.without / windows:.0f} bytes a window, {more / windows:.0f} more with places")
    print(f"      {more / sizes.places:.1f} bytes a place, {more / sizes.without:.0%} of all")
    bytes_of = {}
    for table in ("samples", "places"):
        store.execute((f"OPTIMIZE TABLE {table} FINAL", {}))
        sql = (
            "SELECT sum(bytes_on_disk) AS bytes, sum(rows) AS n FROM system.parts WHERE active"
            " AND table = %(table)s AND database = currentDatabase()"
        )
        found = store.query((sql, {"table": table}))
        bytes_of[table] = int(found["bytes"][0])
        print(f"disk: {table} {bytes_of[table] / int(found['n'][0]):.2f} bytes a row")
    mb = bytes_of["places"] / windows * 8640 / 1e6
    print(f"      {bytes_of['places'] / bytes_of['samples']:.0%} of samples, {mb:.1f} MB a host and day")


def test_places_cost(tmp_path: Path) -> None:
    sizes = measure(HOSTS, WINDOWS, PLACES, tmp_path)
    assert sizes.places


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as named:
        chosen = [int(each) for each in sys.argv[1:]] + [HOSTS, WINDOWS, PLACES][len(sys.argv) - 1 :]
        measure(*chosen, Path(named))
