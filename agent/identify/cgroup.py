"""What a process's control groups tell: its container, its pod, and its systemd unit.

Reads the text of /proc/PID/cgroup, lines of `hierarchy:controllers:path` (man 7 cgroups), as version 1,
version 2 and hybrid hosts write it. Container engines name a group after the container's 64-digit id, with
their own name before it (docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope) or bare
(/docker/ID, /kubepods/burstable/podUID/ID). The deepest group counts, so that a container inside a container
is told by its own id.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_TEXT = 65536
"""Longer texts are cut: a real one has at most 14 lines with a path of 4096 bytes each."""

SHORT_ID_DIGITS = 12
"""Container ids are shown as `docker ps` shows them."""

ENGINE_UNITS = frozenset(
    ("docker", "containerd", "crio", "cri-docker", "podman", "kubelet", "k3s", "k3s-agent", "rke2-server",
     "rke2-agent", "k0scontroller", "k0sworker", "buildkit", "nomad", "snap.docker.dockerd", "ecs")
)  # fmt: skip
"""Units that run other people's containers: the unit says nothing about what runs inside."""

_CONTAINER = re.compile(r"[0-9a-f]{64}\Z")
_ECS_TASK_CONTAINER = re.compile(r"[0-9a-f]{32}-\d{1,10}\Z")
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})\Z")
_PODMAN_POD = re.compile(r"libpod_pod_([0-9a-f]{64})\Z")
_LXC = re.compile(r"lxc\.payload\.(.+)\Z")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What was found; "" for what was not.

    `container`: the first 12 digits of the id, or the name where the engine uses names. `pod`: the Kubernetes
    pod's uid, or the first 12 digits of a Podman pod's id. `unit`: the deepest systemd service, unescaped,
    with its suffix, e.g. "postgresql@15-main.service"; not the unit of the engine that runs the container.
    """

    container: str = ""
    pod: str = ""
    unit: str = ""

    @property
    def unit_name(self) -> str:
        """The unit's name without instance and suffix: `postgresql@15-main.service` → `postgresql`."""
        return self.unit.removesuffix(".service").partition("@")[0]


def parse_cgroup(text: str) -> Cgroup:
    """Read the text of /proc/PID/cgroup; anything unknown gives empty fields, never an error."""
    found = [_from_path(path) for path in _paths(text[:MAX_TEXT])]
    container = _first(each.container for each in found)
    unit = _first(each.unit for each in found)
    runs_containers = unit.removesuffix(".service") in ENGINE_UNITS
    return Cgroup(
        container=container,
        pod=_first(each.pod for each in found),
        unit="" if container and runs_containers else unit,
    )


def _paths(text: str) -> Iterator[str]:
    """The distinct paths: the unified hierarchy's first, then systemd's own, then the controllers'."""
    lines = [parts for line in text.splitlines() if len(parts := line.split(":", 2)) == 3]
    lines.sort(key=lambda parts: 0 if parts[0] == "0" else 1 if parts[1] == "name=systemd" else 2)
    return iter(dict.fromkeys(path for _, _, path in lines))


def _first(values: Iterable[str]) -> str:
    return next(filter(None, values), "")


def _from_path(path: str) -> Cgroup:
    """Read one path, root first: what is deeper replaces what was found before."""
    container = pod = unit = parent = ""
    for group in re.split("[/:]", path):
        container = _container(group, parent) or container
        pod = _pod(group) or pod
        unit = _unit(group) or unit
        parent = group
    return Cgroup(container, pod, unit)


def _container(group: str, parent: str) -> str:
    name = group.removesuffix(".scope")
    engine, identity = name[:-64], name[-64:]
    if engine[-1:] in ("", "-") and _CONTAINER.match(identity):
        # crio-conmon-ID and libpod-conmon-ID hold the engine's monitor, not the container.
        return "" if engine.endswith("conmon-") else identity[:SHORT_ID_DIGITS]
    if _ECS_TASK_CONTAINER.match(name):
        return name
    if parent == "lxc":
        return group
    lxc = _LXC.match(group)
    return lxc[1] if lxc else _machine(group)


def _machine(group: str) -> str:
    """A systemd-nspawn machine: its name."""
    name = _unescape(group)
    if name.startswith("systemd-nspawn@") and name.endswith(".service"):
        return name.removeprefix("systemd-nspawn@").removesuffix(".service")
    return ""


def _pod(group: str) -> str:
    name = group.removesuffix(".slice")
    kubernetes = _POD.search(name)
    if kubernetes:
        return kubernetes[1].replace("_", "-")
    podman = _PODMAN_POD.search(name)
    return podman[1][:SHORT_ID_DIGITS] if podman else ""


def _unit(group: str) -> str:
    """A service's unit; "" for slices, scopes, and the service managers of users and machines."""
    if not group.endswith(".service") or group.startswith(("user@", "systemd-nspawn@")):
        return ""
    return _unescape(group)


def _unescape(name: str) -> str:
    r"""Undo systemd's escaping of one unit name: `\x2d` is `-` (man systemd-escape)."""
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
    return raw if raw.isascii() else raw.encode("latin-1", "replace").decode("utf-8", "replace")
