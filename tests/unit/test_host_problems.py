"""What is wrong with a host is said in sentences, the worst first; a healthy host has none."""

from dataclasses import replace
from typing import Any

import pytest

from collector.query.host_model import BAD, NOTE, WARNING, Agent, HookOff, HostRow, Reported
from collector.query.host_problems import ago, find_problems

NOW_S = 1_000_000.0
AGENT = Agent(agent_id="a", version="1.0", seen_at_s=999_990, started_at_s=900_000)
REPORTED = Reported(
    last_window_s=999_980,
    covered_s=3600,
    cost_share=0.004,
    completeness=(None,) * 22 + (1.0, 0.99),
    agent_ids=("a",),
)
HEALTHY = HostRow("web-1", AGENT, REPORTED, captures=100_000, last_seen_s=999_990)


def problems(row: HostRow, common: str = "1.0") -> list[tuple[int, str]]:
    return [(problem.severity, problem.text) for problem in find_problems(row, NOW_S, common)]


def agent(**changes: Any) -> HostRow:
    return replace(HEALTHY, agent=replace(AGENT, **changes))


def reported(**changes: Any) -> HostRow:
    return replace(HEALTHY, reported=replace(REPORTED, **changes))


def test_a_healthy_host_has_no_problem() -> None:
    assert problems(HEALTHY) == []
    assert problems(replace(HEALTHY, losses={"process_gone": 900, "stack_truncated": 1000})) == []


CASES = [
    (agent(refused_because="It speaks 2."), BAD, "refuses its agent: It speaks 2."),
    (replace(HEALTHY, silent=True, last_seen_s=999_000), BAD, "Silent for 16 min"),
    (reported(last_window_s=999_600), BAD, "no window came for 6 min"),
    (reported(last_window_s=0), BAD, "no window ever came"),
    (agent(queue_windows=5), WARNING, "5 windows wait on the host"),
    (agent(clock_skew_s=-42.0), WARNING, "42.0 s behind the collector's"),
    (agent(clock_skew_s=7200.0), WARNING, "2 h ahead of the collector's"),
    (reported(same_agent_as=("web-2",)), WARNING, "same agent id as web-2"),
    (reported(agent_ids=("a", "b")), WARNING, "2 agents report under this host's name"),
    (reported(completeness=(1.0, 0.5)), WARNING, "25.0 % of the last 2 h did not arrive"),
    (reported(cost_share=0.02), WARNING, "Profiling takes 2.00 %"),
    (agent(hooks_off=(HookOff("sched", "no BTF.", True),)), WARNING, "sched is off: no BTF."),
    (replace(HEALTHY, losses={"queue_full": 1}), WARNING, "1 × windows dropped by the agent"),
    (replace(HEALTHY, losses={"ring_full": 1001}), WARNING, "1\u202f001 × samples lost because"),
    (replace(HEALTHY, losses={"of_the_future": 3}), WARNING, "reason that this version does not know"),
    (agent(version="0.9"), NOTE, "Its agent is 0.9; most of the fleet has 1.0."),
    (agent(agent_id="", version=""), NOTE, "never registered"),
    (reported(exact=False), NOTE, "estimated from samples"),
]


@pytest.mark.parametrize(("row", "severity", "text"), CASES, ids=[case[2] for case in CASES])
def test_each_problem_is_one_sentence(row: HostRow, severity: int, text: str) -> None:
    ((found_severity, said),) = problems(row)
    assert found_severity == severity
    assert text in said
    assert said[0].isupper() or said[0].isdigit() or said.startswith("sched")
    assert said.endswith(".")


def test_the_worst_comes_first() -> None:
    row = replace(agent(refused_because="No.", version="0.9", queue_windows=9), losses={"queue_full": 1})
    assert [severity for severity, _ in problems(row)] == [BAD, WARNING, WARNING, NOTE]


def test_hooks_that_only_the_kernel_lacks_are_no_problem() -> None:
    assert problems(agent(hooks_off=(HookOff("kprobes", "not offered", False),))) == []


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")]
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert ago(seconds) == said
