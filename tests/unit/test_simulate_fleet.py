"""The invented fleet is as broad as real ones, consistent in itself, and follows from its seed."""

import numpy as np
import pytest

from agent.encode import encode_definitions, encode_window
from collector.ingest.admission import admit, receive
from collector.ingest.limits import Limits
from fleetprof.profile_types import WINDOW_NS, ProfileType
from fleetprof.v1 import ingest_pb2
from query_ui.simulate.draw import Drawer
from query_ui.simulate.fleet import WINDOW_S, Fleet, Plan, make_fleet
from query_ui.simulate.service import FEWEST_STACKS, GROWTH, MOST_STACKS
from tests.unit.defined import defined

START_S = 1_760_000_000
PLAN = Plan(hosts=12, services=4, start_s=START_S, end_s=START_S + 3 * 86400, seed=3)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return make_fleet(PLAN)


def test_services_have_the_breadth_of_real_ones(fleet: Fleet) -> None:
    for service in fleet.services:
        numbers, counts = np.unique(service.releases[0].cpu, return_counts=True)
        assert FEWEST_STACKS / 2 < len(numbers) <= MOST_STACKS
        counts = np.sort(counts)[::-1]
        # Zipf: the tenth part of the stacks has most of the time, and no stack has nearly all.
        assert 0.5 < counts[: len(counts) // 10].sum() / counts.sum() < 0.99
        assert counts[0] / counts.sum() < 0.3


def test_a_release_changes_some_stacks_and_makes_one_function_slower(fleet: Fleet) -> None:
    releases = [
        (before, after)
        for service in fleet.services
        for before, after in zip(service.releases, service.releases[1:], strict=False)
        if after.grown
    ]
    assert releases
    for before, after in releases:
        new = ~np.isin(after.cpu, before.cpu)
        assert 0.02 < new.mean() < 0.4
        took = [_taken(fleet, each.cpu, after.grown) * each.load for each in (before, after)]
        assert took[1] / took[0] == pytest.approx(GROWTH, rel=0.02)


def _taken(fleet: Fleet, table: "np.ndarray", function: str) -> float:
    numbers, counts = np.unique(table, return_counts=True)
    frames = fleet.book.frames
    leaf = np.array([frames[fleet.book.frame_ids[number][0]].name == function for number in numbers])
    return float(counts[leaf].sum())


def test_windows_are_what_a_collector_takes(fleet: Fleet) -> None:
    drawer = Drawer(fleet)
    for host in fleet.hosts[:4]:
        for place, drawn in enumerate(drawer.draw(host, START_S, 3)):
            window = drawn.whole(fleet.book)
            request = ingest_pb2.PushRequest(
                protocol_version=1, agent_id=host.agent_id, run_id=1, sequence=place + 1,
                window=encode_window(window, host.name),
                definitions=encode_definitions(window, set(window.stack_ids), set(window.series_ids)),
            )  # fmt: skip
            admit(receive(request.SerializeToString(), Limits()), Limits(), START_S + 60)  # raises where not
            found = defined(request.definitions.SerializeToString())
            assert set(window.stack_ids) - {0} == set(found.stacks)
            assert set(window.series_ids) == set(found.series)
            rows = window.rows
            keys = set(zip(rows.series.tolist(), rows.type.tolist(), rows.stack.tolist(), strict=True))
            assert len(keys) == len(rows) > 100
            cpu = rows.type == ProfileType.CPU
            assert len(rows.offsets) == rows.captures[cpu].sum()
            used = rows.value[cpu | (rows.type == ProfileType.IDLE)].sum()
            assert used == host.cpu_count * WINDOW_NS


def test_the_seed_decides(fleet: Fleet) -> None:
    again = make_fleet(PLAN)
    assert again.book.ids.tolist() == fleet.book.ids.tolist()
    first, second = (Drawer(each).draw(each.hosts[0], START_S, 2)[1] for each in (fleet, again))
    assert encode_window(first.window, "h") == encode_window(second.window, "h")


def test_agents_come_and_go_without_two_lives_at_once() -> None:
    fleet = make_fleet(Plan(hosts=200, services=1, start_s=START_S, end_s=START_S + 86400))
    partly = 0
    for host in fleet.hosts:
        assert len({run.run_id for run in host.runs}) == len(host.runs)
        for before, after in zip(host.runs, host.runs[1:], strict=False):
            assert before.end_s <= after.start_s
        assert all(not edge % WINDOW_S for run in host.runs for edge in (run.start_s, run.end_s))
        partly += host.runs[0].start_s > START_S or host.runs[-1].end_s < START_S + 86400
    assert 5 < partly < 60
    assert any(abs(host.skew_s) > WINDOW_S for host in fleet.hosts)
