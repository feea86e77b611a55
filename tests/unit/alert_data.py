"""Rules, sights and books for tests of alerts."""

from pathlib import Path

from collector.alerts.book import AlertBook
from collector.alerts.database import Database
from collector.alerts.model import Sight, Subject, Verdict
from collector.alerts.rules import ReleaseRule, ThresholdRule
from collector.compare.smallest_effect import SmallestEffect

T = 1_790_000_000


def threshold(
    name: str = "hot", for_s: float = 0, keep_s: float = 0, receivers: tuple[str, ...] = ("ops",)
) -> ThresholdRule:
    return ThresholdRule(
        name=name, scope=(), for_s=for_s, keep_firing_for_s=keep_s, min_complete=0.95,
        labels={"severity": "page"}, annotations={"text": "{function} uses {value}"}, receivers=receivers,
        place="rules.toml:1", metric="share", function="f", function_regex="", above=0.2, below=None,
        window_s=600,
    )  # fmt: skip


def release(receivers: tuple[str, ...] = ("ops",)) -> ReleaseRule:
    return ReleaseRule(
        name="slower", scope=(), for_s=0, keep_firing_for_s=0, min_complete=0.95, labels={}, annotations={},
        receivers=receivers, place="rules.toml:1", effect=SmallestEffect(), q=0.01, looks_s=(1200, 3600),
        min_hosts=2,
    )  # fmt: skip


def sight(
    verdict: Verdict,
    rule: str = "hot",
    service: str = "shop",
    node: str = "f",
    version: str = "",
    group: tuple[str, ...] = (),
    reason: str = "it does",
) -> Sight:
    subject = Subject(rule, "{}", service, node, version)
    values = {"function": node, "value": "30 %", "link": "http://ui/alert"}
    evidence = {"net": 0.1} if verdict == "active" else {}
    return Sight(subject, verdict, reason, node, 0.3, values, evidence, group)


def open_book(folder: Path) -> AlertBook:
    return AlertBook(Database(folder / "alerts.sqlite3"))
