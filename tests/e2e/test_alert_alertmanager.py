"""Debian's real Alertmanager: an alert arrives once, is grouped, is not repeated, and resolves."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.alerts.outbox import Outbox
from collector.alerts.rules import Receiver as ReceiverRule
from collector.alerts.sender import Target
from tests.e2e.product import free_port, wait_until
from tests.unit.alert_data import open_book, release, sight
from tests.unit.alert_receiver import Receiver, receiving

PROGRAM = shutil.which("prometheus-alertmanager")
CONFIG = """
route:
  receiver: hook
  group_by: [alertname, service]
  group_wait: 500ms
  group_interval: 1s
  repeat_interval: 1h
receivers:
- name: hook
  webhook_configs:
  - url: {url}
    send_resolved: true
"""


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def alertmanager(tmp_path: Path, hook: Receiver) -> Iterator[str]:
    assert PROGRAM, "prometheus-alertmanager is not installed: deploy/setup.sh test"
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG.format(url=hook.url))
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [PROGRAM, f"--config.file={config}", f"--storage.path={tmp_path / 'am'}",
             f"--web.listen-address={address}", "--cluster.listen-address="],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: is_ready(address, process), "Alertmanager does not answer")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def is_ready(address: str, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "Alertmanager ended"
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def known_alerts(url: str) -> list[Any]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=30) as answer:
        found: list[Any] = json.load(answer)
        return found


def ended(hook: Receiver) -> list[Any]:
    """Alerts that were told to be over."""
    return [each for _, _, body in hook.got for each in body["alerts"] if each["status"] == "resolved"]


def test_an_alert_arrives_once_is_grouped_and_resolves(
    tmp_path: Path, hook: Receiver, alertmanager: str
) -> None:
    book = open_book(tmp_path / "book")
    rule = release()
    now_s = int(time.time())
    found = [sight("active", "slower", node=node, version="2.0") for node in ("hash_block", "parse")]
    book.apply(rule, found, [], now_s)
    target = Target(
        book, ReceiverRule("ops", "alertmanager", (alertmanager,), None, 30.0, True), alertmanager, ""
    )
    target.work(time.time())
    assert not Outbox(book).waiting()
    wait_until(lambda: hook.got and len(hook.got[-1][2]["alerts"]) == 2, "no group of two alerts")
    told = hook.got[-1][2]
    assert told["status"] == "firing"
    assert told["groupLabels"] == {"alertname": "slower", "service": "shop"}
    assert {each["labels"]["function"] for each in told["alerts"]} == {"hash_block", "parse"}
    assert told["commonLabels"]["version"] == "2.0"
    assert {each["generatorURL"] for each in told["alerts"]} == {"http://ui/alert"}
    count = len(hook.got)

    for resend in range(3):  # what the sender does each minute
        Target(book, target.receiver, alertmanager, "").work(time.time() + resend)
    alerts = known_alerts(alertmanager)
    assert len(alerts) == 2
    assert {each["status"]["state"] for each in alerts} == {"active"}
    first_end = max(each["endsAt"] for each in alerts)
    target.work(time.time() + 60)
    wait_until(
        lambda: max(each["endsAt"] for each in known_alerts(alertmanager)) > first_end, "not prolonged"
    )
    assert len(hook.got) == count

    gone = [sight("inactive", "slower", node="hash_block", version="2.0")]
    gone += [sight("superseded", "slower", node="parse", version="2.0")]
    book.apply(rule, gone, [], int(time.time()))
    target.work(time.time())
    wait_until(lambda: hook.got[-1][2]["status"] == "resolved", "not resolved")
    # Which of both ends first is told where Alertmanager's second lies between them.
    over = {each["labels"]["function"] for each in ended(hook)}
    assert over == {"hash_block", "parse"}
    assert not known_alerts(alertmanager)
    statuses = [body["status"] for _, _, body in hook.got[count - 1 :]]
    assert statuses[0] == "firing"
    assert statuses[-1] == "resolved"
    assert statuses.count("resolved") == 1
    book.database.close()


def test_labels_that_alertmanager_refuses_are_said(tmp_path: Path, alertmanager: str) -> None:
    book = open_book(tmp_path / "book")
    book.apply(release(), [sight("active", "slower", version="2.0")], [], int(time.time()))
    book.database.run("UPDATE alerts SET labels = ?", '{"not a label name":"x"}')
    receiver = ReceiverRule("ops", "alertmanager", (alertmanager,), None, 30.0, True)
    Target(book, receiver, alertmanager, "").work(time.time())
    (waiting,) = Outbox(book).waiting()
    assert str(waiting["outcome"]).startswith("it answered 400")
    book.database.close()
