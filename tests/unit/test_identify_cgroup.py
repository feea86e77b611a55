"""Containers, pods and units out of /proc/PID/cgroup, as each runtime writes it in real life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identify.cgroup import Cgroup, parse_cgroup

ID = "3f4e9c0d1b2a39485766f0e1d2c3b4a5968778695a4b3c2d1e0f9a8b7c6d5e4f"
INNER = "aa4e9c0d1b2a39485766f0e1d2c3b4a5968778695a4b3c2d1e0f9a8b7c6d5e4f"
SHORT, INNER_SHORT = ID[:12], INNER[:12]
UID = "2f9e6a0c-8d3b-4c1e-9a55-0b6f7d8e9a10"
UNDERSCORED = UID.replace("-", "_")
STATIC = "9e4f2a6b8c0d1e3f5a7b9c1d3e5f7a9b"

V1_CONTROLLERS = "12:pids:{0}\n11:cpu,cpuacct:{0}\n10:memory:{0}\n1:name=systemd:{0}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Docker: cgroupfs and systemd drivers, on version 1, version 2, and a hybrid host.
        (V1_CONTROLLERS.format(f"/docker/{ID}"), Cgroup(SHORT)),
        (V1_CONTROLLERS.format(f"/system.slice/docker-{ID}.scope") + "0::/\n", Cgroup(SHORT)),
        (f"0::/docker/{ID}\n", Cgroup(SHORT)),
        (f"0::/system.slice/docker-{ID}.scope\n", Cgroup(SHORT)),
        (f"0::/../../docker-{ID}.scope\n", Cgroup(SHORT)),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope\n", Cgroup(SHORT)),
        (f"0::/system.slice/docker.service/docker/{ID}\n", Cgroup(SHORT)),
        # systemd inside of a container.
        (f"0::/docker/{ID}/system.slice/nginx.service\n", Cgroup(SHORT, unit="nginx.service")),
        # containerd without Kubernetes (nerdctl), and a container inside a container.
        (f"0::/system.slice/nerdctl-{ID}.scope\n", Cgroup(SHORT)),
        (f"0::/default/{ID}\n", Cgroup(SHORT)),
        (f"0::/docker/{ID}/docker/{INNER}\n", Cgroup(INNER_SHORT)),
        # Podman: as root, rootless, in a Podman pod, from a unit (quadlet), and its monitor.
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", Cgroup(SHORT)),
        (V1_CONTROLLERS.format(f"/machine.slice/libpod-{ID}.scope"), Cgroup(SHORT)),
        (f"1:name=systemd:/libpod_parent/libpod-{ID}\n", Cgroup(SHORT)),
        (
            f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container\n",
            Cgroup(SHORT),
        ),
        (
            f"0::/machine.slice/machine-libpod_pod_{INNER}.slice/libpod-{ID}.scope\n",
            Cgroup(SHORT, pod=INNER_SHORT),
        ),
        (f"0::/system.slice/web.service/libpod-payload-{ID}\n", Cgroup(SHORT, unit="web.service")),
        (f"0::/machine.slice/libpod-conmon-{ID}.scope\n", Cgroup()),
        # Kubernetes, systemd driver: containerd, CRI-O, Docker; the three classes of service.
        (
            f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/"
            f"cri-containerd-{ID}.scope\n",
            Cgroup(SHORT, UID),
        ),
        (
            f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDERSCORED}.slice/"
            f"crio-{ID}.scope/container\n",
            Cgroup(SHORT, UID),
        ),
        (f"0::/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/docker-{ID}.scope\n", Cgroup(SHORT, UID)),
        (f"0::/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-conmon-{ID}.scope\n", Cgroup("", UID)),
        # Kubernetes, cgroupfs driver, and a static pod (its uid is a hash).
        (V1_CONTROLLERS.format(f"/kubepods/besteffort/pod{UID}/{ID}"), Cgroup(SHORT, UID)),
        (f"0::/kubepods/pod{UID}/{ID}\n", Cgroup(SHORT, UID)),
        (f"0::/kubepods/burstable/pod{STATIC}/{ID}\n", Cgroup(SHORT, STATIC)),
        # containerd's old systemd form has colons inside of the path.
        (
            f"4:memory:/system.slice/containerd.service/kubepods-burstable-pod{UNDERSCORED}.slice"
            f":cri-containerd:{ID}\n",
            Cgroup(SHORT, UID),
        ),
        # kind: Kubernetes inside of a Docker container.
        (
            f"0::/docker/{INNER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
            f"kubelet-kubepods-besteffort-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope\n",
            Cgroup(SHORT, UID),
        ),
        # ECS, LXC, systemd-nspawn.
        (f"0::/ecs/{STATIC}/{STATIC}-1234567890\n", Cgroup(f"{STATIC}-1234567890")),
        ("0::/lxc.payload.web-1/system.slice/nginx.service\n", Cgroup("web-1", unit="nginx.service")),
        ("9:memory:/lxc/web-1\n", Cgroup("web-1")),
        (
            "0::/machine.slice/systemd-nspawn@deb\\x2d12.service/payload/system.slice/ssh.service\n",
            Cgroup("deb-12", unit="ssh.service"),
        ),
        # systemd units: system and user services, templates, escaped names, scopes and sessions.
        ("0::/system.slice/nginx.service\n", Cgroup(unit="nginx.service")),
        (V1_CONTROLLERS.format("/system.slice/ssh.service"), Cgroup(unit="ssh.service")),
        ("1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n", Cgroup(unit="a.service")),
        ("5:memory:/\n1:name=systemd:/system.slice/a.service\n0::/\n", Cgroup(unit="a.service")),
        (
            "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
            Cgroup(unit="postgresql@15-main.service"),
        ),
        ("0::/system.slice/my\\x2dapp.service\n", Cgroup(unit="my-app.service")),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", Cgroup()),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", Cgroup()),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/pipewire.service\n",
            Cgroup(unit="pipewire.service"),
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-2231.scope\n",
            Cgroup(),
        ),
        # A process moved out of its unit by a delegated group keeps the unit.
        ("0::/system.slice/uwsgi.service/workers\n", Cgroup(unit="uwsgi.service")),
        # Nothing.
        ("0::/\n", Cgroup()),
        ("", Cgroup()),
        ("0::/init.scope\n", Cgroup()),
        ("9:name=systemd:/\n8:pids:/\n0::/\n", Cgroup()),
        ("garbage\n\n::\n0:\n", Cgroup()),
        (f"0::/docker/{ID[:-1]}\n", Cgroup()),
        (f"0::/docker/{ID.upper()}\n", Cgroup()),
    ],
)  # fmt: skip
def test_cgroup_of_each_runtime(text: str, expected: Cgroup) -> None:
    assert parse_cgroup(text) == expected


@pytest.mark.parametrize(
    ("cgroup", "name"),
    [
        (Cgroup(unit="nginx.service"), "nginx"),
        (Cgroup(unit="postgresql@15-main.service"), "postgresql"),
        (Cgroup(SHORT, unit="web.service"), "web"),
        (Cgroup(), ""),
    ],
)
def test_name_of_a_unit(cgroup: Cgroup, name: str) -> None:
    assert cgroup.unit_name == name


def test_an_engine_itself_is_known_by_its_unit() -> None:
    assert parse_cgroup("0::/system.slice/docker.service\n").unit_name == "docker"


_PIECES = st.sampled_from(
    [
        "0:",
        ":",
        "/",
        "\n",
        ID,
        "docker-",
        ".scope",
        ".service",
        ".slice",
        "pod",
        UID,
        UNDERSCORED,
        "lxc.payload.",
        "lxc",
        "name=systemd",
        "\\x2d",
        "\\xff",
        "\\x",
        "@",
        "user@1",
        "\0",
        "\udcff",
        "systemd-nspawn@",
    ]
)


@given(st.lists(_PIECES | st.text(max_size=5), max_size=40).map("".join))
def test_no_text_breaks_the_parser(text: str) -> None:
    found = parse_cgroup(text)
    assert "/" not in found.container + found.pod + found.unit


def test_an_endless_text_is_cut() -> None:
    assert parse_cgroup("0::/" + "g" * 10_000_000 + f"/docker/{ID}").container == ""
