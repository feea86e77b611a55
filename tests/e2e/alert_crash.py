"""Evaluators and senders that kill themselves, one after the other: run by test_alert_crashes.py.

python -m tests.e2e.alert_crash FOLDER URL STEPS,STEPS,…: for each number a process is forked that plays a
script of sights from where the database says it stands, delivers, and sends itself SIGKILL at that step (an
SQL statement, or a moment before or after an HTTP request). Then one plays to the end. Prints how many died.
"""

import os
import signal
import sys
import time
from pathlib import Path

from collector.alerts import sender as sending
from collector.alerts.book import AlertBook
from collector.alerts.database import Database
from collector.alerts.evaluator import Evaluator
from collector.alerts.judgement import Docket, Judgement
from collector.alerts.model import Look, Sight, Subject
from collector.alerts.outbox import Outbox
from collector.alerts.rules import AnyRule, Receiver, RuleSet
from tests.unit.alert_data import T, threshold

FAULTS = ("f", "g", "h")
ROUNDS = 28
_RULE = threshold()


class Countdown:
    """Ends the process without warning at its last step."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Script:
    """Round n: each fault holds for some rounds, is away for some, and data is missing in others."""

    def judge(self, rule: AnyRule, docket: Docket) -> Judgement:
        number = (docket.now_s - T) // 60
        sights = [Sight(Subject(rule.name, "{}", "shop", name), self._verdict(name, number),
                        "as the script says", name, evidence={"net": 1.0}) for name in FAULTS]  # fmt: skip
        return Judgement(sights, [Look(rule.name, "shop", str(number), 60, "done")])

    @staticmethod
    def _verdict(name: str, number: int):  # type: ignore[no-untyped-def]  # noqa: ANN205
        if (number + FAULTS.index(name)) % 4 == 3:
            return "held"
        return "active" if (number // 4) % 2 == 0 else "inactive"


def play(folder: Path, url: str, steps: int) -> None:
    """The script to its end, or to the step at which this process dies."""
    countdown = Countdown(steps)
    database = Database(folder / "alerts.sqlite3")
    database._connection.set_trace_callback(countdown.step)
    book = AlertBook(database)
    post = sending.post

    def post_and_count(*given):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202
        countdown.step()
        post(*given)
        countdown.step()

    sending.post = post_and_count
    receiver = Receiver("ops", "webhook", (url,), None, 1.0, True)
    target = sending.Target(book, receiver, url, "")
    evaluator = Evaluator(book, {"threshold": Script()})
    rules = RuleSet((_RULE,), (receiver,))
    while (number := len(book.looks(_RULE.name))) < ROUNDS:
        evaluator.evaluate(rules, T + 60 * number)
        target.work(time.time())
    now_s = time.time()
    for _ in range(1000):
        if not Outbox(book).waiting():
            return
        now_s += 1000  # past every backoff
        target.work(now_s)
    raise AssertionError(Outbox(book).waiting())


def check(folder: Path) -> None:
    """Never two open alerts of one fault."""
    book = AlertBook(Database(folder / "alerts.sqlite3"))
    nodes = [alert.subject.node for alert in book.open_alerts()]
    assert len(nodes) == len(set(nodes)), nodes
    book.database.close()


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    killed = 0
    for steps in [*map(int, sys.argv[3].split(",")), 0]:
        child = os.fork()
        if child == 0:
            play(folder, url, steps)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            killed += 1
        else:
            assert os.waitstatus_to_exitcode(status) == 0
        check(folder)
    print(killed)


if __name__ == "__main__":
    main()
