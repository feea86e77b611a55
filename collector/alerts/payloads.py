"""What receivers are sent: Alertmanager's API v2, and webhooks in the shape that Alertmanager gives them.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (postableAlerts)
https://prometheus.io/docs/alerting/latest/configuration/#webhook_config (version "4")
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from collector.alerts.model import Alert

ENDS_AFTER_S = 300
"""A firing alert that is not sent again for so long is over for Alertmanager: so end a dead collector's."""
RESEND_S = 60.0
NEVER = "0001-01-01T00:00:00Z"


def alertmanager_body(alerts: Sequence[Alert], firing: bool, now_s: float) -> bytes:
    """The body of POST /api/v2/alerts."""
    ends_at = now_s + ENDS_AFTER_S if firing else now_s
    return _json(
        [
            {
                "labels": _clean(alert.labels),
                "annotations": _clean(alert.annotations),
                "startsAt": rfc3339(alert.fired_at),
                "endsAt": rfc3339(ends_at),
                **_generator(alert),
            }
            for alert in alerts
        ]
    )


def webhook_body(alert: Alert, status: str, receiver: str, ui_url: str) -> bytes:
    """The body of a webhook's POST, one alert a time."""
    labels, annotations = _clean(alert.labels), _clean(alert.annotations)
    one = {
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339(alert.fired_at),
        "endsAt": NEVER if status == "firing" else rfc3339(alert.ended_at),
        "generatorURL": alert.annotations.get("link", ""),
        "fingerprint": alert.subject.fingerprint,
    }
    return _json(
        {
            "version": "4",
            "groupKey": f'{{}}:{{fingerprint="{alert.subject.fingerprint}"}}',
            "truncatedAlerts": 0,
            "status": status,
            "receiver": receiver,
            "groupLabels": {"fingerprint": alert.subject.fingerprint},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": ui_url,
            "alerts": [one],
        }
    )


def rfc3339(seconds: float) -> str:
    """UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _generator(alert: Alert) -> dict[str, str]:
    link = alert.annotations.get("link", "")
    return {"generatorURL": link} if link.startswith(("http://", "https://")) else {}


def _clean(texts: dict[str, str]) -> dict[str, str]:
    """Names of functions may hold bytes that were not UTF-8; receivers refuse what is not Unicode."""
    return {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
