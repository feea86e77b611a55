"""Foreign names of labels → ours.

Attributes of OpenTelemetry (semantic conventions) and labels of Prometheus and Pyroscope become the known labels;
others become free labels under a name that fits, unless they are known to differ with every process.
"""

import re
from collections.abc import Iterable, Mapping

from fleetprof.series import KNOWN_LABELS, LABEL_NAME, MAX_LABEL_VALUE_BYTES

MAX_LABELS = 64

_FOREIGN = {
    "service": ("service.name", "service_name", "app"),
    "version": ("service.version", "service_version"),
    "host": ("host.name", "hostname", "host_name", "k8s.node.name", "node", "host.id", "instance"),
    "environment": ("deployment.environment.name", "deployment.environment", "env"),
    "region": ("cloud.region", "cloud_region"),
    "namespace": ("k8s.namespace.name", "service.namespace", "k8s_namespace_name", "service_namespace"),
    "pod": ("k8s.pod.name", "k8s_pod_name"),
    "container": ("k8s.container.name", "container.name", "container.id", "container_id"),
    "process": ("process.executable.name", "process_executable_name"),
    "thread": ("thread.name", "thread_name"),
}
_PLACES = {
    foreign: (ours, rank) for ours, names in _FOREIGN.items() for rank, foreign in enumerate((ours, *names))
}
_LEFT_OUT = (
    "telemetry.", "otel.", "process.", "os.", "host.", "container.", "thread.", "service.instance.", "k8s.pod.",
    "__", "pprof::", "bytes", "profile_id", "span_id", "trace_id", "span id", "trace id",
)  # fmt: skip
"""Beginnings of names that differ with every process or say nothing of the code."""
_UNFIT = re.compile(r"[^a-zA-Z0-9_]")


def ours(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Our labels of foreign ones; of several that mean the same, the most telling. At most MAX_LABELS."""
    found: dict[str, tuple[int, str]] = {}
    for name, value in pairs:
        label, rank = _PLACES.get(name, ("", 0))
        if not label:
            label, rank = free_name(name), 100
        before = found.get(label)
        if label and value and (before is None or rank < before[0]) and len(found) < MAX_LABELS:
            found[label] = rank, cut(value)
    return {label: value for label, (_, value) in found.items()}


def free_name(name: str) -> str:
    """The label for a name that is none of ours; "" for one that is left out."""
    if name.startswith(_LEFT_OUT):
        return ""
    plain = _UNFIT.sub("_", name[:64])
    plain = plain if LABEL_NAME.match(plain) else f"_{plain}"[:64]
    return "" if plain.startswith("__") or plain in KNOWN_LABELS or plain == "_" else plain


def cut(value: str) -> str:
    """A value no longer than labels may be."""
    data = value.encode("utf-8", "replace")
    return (
        data[:MAX_LABEL_VALUE_BYTES].decode("utf-8", "ignore") if len(data) > MAX_LABEL_VALUE_BYTES else value
    )


def of_source(labels: Mapping[str, str], peer: str) -> dict[str, str]:
    """`labels` with a service and a host: where they are not given, what comes nearest; `peer`: the address."""
    whole = dict(labels)
    if not whole.get("service"):
        nearest = (whole.get(name) for name in ("container", "process"))
        whole["service"] = next((value for value in nearest if value), "unknown_service")
    if not whole.get("host"):
        whole["host"] = peer or "unknown_host"
    return whole
