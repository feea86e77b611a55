"""Whether every window counts exactly once: by arithmetic over what agents wrote down and what the store holds."""

from collections import Counter
from dataclasses import dataclass, field

from collector.store.consistency import differences, incomplete_hours
from collector.store.interface import Store
from tests.faults.ledger import Key, Ledger

Sums = Counter[tuple[str, int, str]]
"""By host, second and profile type."""


@dataclass
class Verdict:
    """What was found; `wrong` is empty when all is well."""

    offered: int
    acknowledged: int
    stored: int
    dropped: int
    killed: int
    """Windows that were only in the memory of agents that were killed."""
    rows_offered: int
    """Rows of samples in the windows offered."""
    rows: int
    """Rows of samples stored."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Windows that were dropped, by why."""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        why = "".join(f", {reason} {count}" for reason, count in sorted(self.reasons.items()))
        text = (
            f"{self.offered} windows offered ({self.rows_offered} rows), {self.acknowledged} acknowledged,"
            f" {self.stored} stored ({self.rows} rows), {self.dropped} dropped and counted{why};"
            f" {self.killed} lost with the memory of killed agents"
        )
        return text + "".join(f"\n  WRONG: {each}" for each in self.wrong)


def judge(store: Store, ledger: Ledger, kills: Counter[str], in_memory: int) -> Verdict:
    """Compare; `kills` counts how often each agent was killed, which had up to `in_memory` windows only there."""
    stored = stored_windows(store)
    verdict = Verdict(
        offered=len(ledger.windows),
        acknowledged=len(ledger.acknowledged),
        stored=len(stored),
        dropped=ledger.dropped.total(),
        killed=0,
        rows_offered=sum(window.rows for window in ledger.windows.values()),
        rows=0,
        reasons=dict(ledger.reasons),
    )
    _check_windows(verdict, ledger, stored)
    _check_losses(verdict, ledger, stored, store)
    _check_sums(verdict, ledger, stored, store)
    _check_missing(
        verdict, ledger, stored, Counter({agent: n * (in_memory + 1) for agent, n in kills.items()})
    )
    _check_ends(verdict, ledger, kills)
    if hours := incomplete_hours(store):
        verdict.wrong.append(f"{len(hours)} hours are not rolled up")
    verdict.wrong += [f"roll-up differs: {each}" for each in differences(store)][:5]
    return verdict


def stored_windows(store: Store) -> Counter[Key]:
    """How often table `windows` has each."""
    found = store.query(
        (
            "SELECT agent_id, run_id, sequence, count() AS n FROM windows GROUP BY agent_id, run_id, sequence",
            {},
        )
    )
    columns = (found[name].tolist() for name in ("agent_id", "run_id", "sequence", "n"))
    return Counter({(agent, run, sequence): n for agent, run, sequence, n in zip(*columns, strict=True)})


def _check_windows(verdict: Verdict, ledger: Ledger, stored: Counter[Key]) -> None:
    twice = [key for key, n in stored.items() if n > 1]
    invented = set(stored) - set(ledger.windows)
    lost = ledger.acknowledged - set(stored)
    for keys, what in (
        (twice, "stored twice"),
        (invented, "never sent"),
        (lost, "acknowledged but not stored"),
    ):
        if keys:
            verdict.wrong.append(f"{len(keys)} windows {what}, such as {next(iter(keys))}")


def _check_losses(verdict: Verdict, ledger: Ledger, stored: Counter[Key], store: Store) -> None:
    """Losses that travel with windows are stored once with them."""
    expected: Counter[str] = Counter()
    for key in set(stored) & set(ledger.windows):
        expected.update(ledger.windows[key].losses)
    found = store.query(
        ("SELECT reason, sum(count) AS n FROM losses WHERE origin = 'agent' GROUP BY reason", {})
    )
    had = Counter(dict(zip(found["reason"].tolist(), found["n"].tolist(), strict=True)))
    if had != expected:
        verdict.wrong.append(f"losses stored {dict(had)}, sent {dict(expected)}")


def _check_sums(verdict: Verdict, ledger: Ledger, stored: Counter[Key], store: Store) -> None:
    """Rows, values and captures of each host, second and type: those of the stored windows, once."""
    expected: dict[str, Sums] = {name: Counter() for name in ("rows", "value", "captures")}
    for key in set(stored) & set(ledger.windows):
        offered = ledger.windows[key]
        for kind, sums in offered.types.items():
            place = (key[0].removeprefix("agent-"), offered.second, kind)
            for name, number in zip(expected, sums, strict=True):
                expected[name][place] += number
    found = stored_sums(store)
    verdict.rows = found["rows"].total()
    for name, sums_of in expected.items():
        wrong = {place for place in sums_of | found[name] if sums_of[place] != found[name][place]}
        if wrong:
            place = min(wrong)
            verdict.wrong.append(
                f"{name} differ at {len(wrong)} places, such as {place}:"
                f" sent {sums_of[place]}, stored {found[name][place]}"
            )


def stored_sums(store: Store) -> dict[str, Sums]:
    """What table `samples`, which never merges rows away, holds."""
    found = store.query(("SELECT DISTINCT series, host FROM series", {}))
    hosts = dict(zip(found["series"].tolist(), found["host"].tolist(), strict=True))
    found = store.query(
        (
            "SELECT series, ts, type, count() AS n, sum(value) AS v, sum(captures) AS c FROM samples"
            " GROUP BY series, ts, type",
            {},
        )
    )
    sums: dict[str, Sums] = {"rows": Counter(), "value": Counter(), "captures": Counter()}
    columns = (found[name].tolist() for name in ("series", "ts", "type", "n", "v", "c"))
    for series, second, kind, *numbers in zip(*columns, strict=True):
        for name, number in zip(sums, numbers, strict=True):
            sums[name][hosts[series], second, kind] += number
    return sums


def _check_missing(verdict: Verdict, ledger: Ledger, stored: Counter[Key], most: Counter[str]) -> None:
    """What is not stored was counted as dropped, or was in the memory of an agent that was killed: `most` of them.

    A window whose answer was lost may be stored and, when the agent then drops it, be counted as dropped too:
    the agent cannot know. Such windows were never acknowledged.
    """
    for agent in sorted({key[0] for key in ledger.windows}):
        own = {key for key in ledger.windows if key[0] == agent}
        missing = own - set(stored)
        uncertain = len(own & set(stored) - ledger.acknowledged)
        more = len(missing) - ledger.dropped[agent]
        verdict.killed += max(more, 0)
        if not -uncertain <= more <= most[agent]:
            verdict.wrong.append(
                f"{agent}: {len(missing)} windows are not stored, {ledger.dropped[agent]} were counted as dropped;"
                f" kills explain {most[agent]}, lost answers {uncertain}"
            )


def _check_ends(verdict: Verdict, ledger: Ledger, kills: Counter[str]) -> None:
    """Every run ended with nothing left, but for those that were killed."""
    for agent in sorted({key[0] for key in ledger.windows}):
        unfinished = ledger.runs(agent) - {run for name, run in ledger.ended if name == agent}
        if len(unfinished) > kills[agent]:
            verdict.wrong.append(f"{agent}: {len(unfinished)} runs did not end, {kills[agent]} were killed")
