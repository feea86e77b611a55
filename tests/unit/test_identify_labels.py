"""Which labels a process gets, in which order of preference, and that nothing it says can hurt."""

import socket
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identify.declared import declared, parse_resource_attributes, workload_of
from agent.identify.identifier import ENVIRONMENT_NAMES, UNKNOWN_SERVICE, HostIdentity, Identifier
from agent.identify.label_value import clean
from agent.identify.rules import Rule
from agent.process import Process
from fleetprof.series import KNOWN_LABELS, LABEL_NAME, MAX_LABEL_VALUE_BYTES

ID = "3f4e9c0d1b2a" + "0" * 52
UID = "2f9e6a0c-8d3b-4c1e-9a55-0b6f7d8e9a10"
POD_GROUP = f"0::/kubepods/burstable/pod{UID}/{ID}\n"
BUILD_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"


def process(
    exe: str = "/usr/bin/python3.11",
    command_line: str = "python3 -m shop",
    environment: dict[str, str] | None = None,
    cgroup: str = "0::/\n",
    build_id: str = BUILD_ID,
    start_ns: int = 1,
) -> Process:
    return Process(
        pid=100, namespace_pid=1, start_ns=start_ns, comm="python3", exe=exe, exe_build_id=build_id,
        command_line=tuple(command_line.split()), environment=environment or {}, cgroup=cgroup,
    )  # fmt: skip


def labels(
    subject: Process | None, identity: HostIdentity | None = None, comm: str = "main"
) -> dict[str, str]:
    return Identifier(identity or HostIdentity(host="h1")).labels(subject, comm)


OTEL = {
    "OTEL_SERVICE_NAME": "otel",
    "OTEL_RESOURCE_ATTRIBUTES": "service.name=attribute,service.version=1.2%2C3,deployment.environment=prod,"
    "cloud.region=eu-1,k8s.namespace.name=shop",
    "DD_SERVICE": "dd",
    "DD_VERSION": "9",
    "DD_ENV": "staging",
}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in OTEL.items() if name not in names}


@pytest.mark.parametrize(
    ("environment", "cgroup", "service"),
    [
        (OTEL, POD_GROUP, "otel"),
        (without("OTEL_SERVICE_NAME"), POD_GROUP, "attribute"),
        (without("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"), POD_GROUP, "dd"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "cart-7d9f8b6c5d-x2x4k"}, POD_GROUP, "cart"),
        ({"POD_NAME": "db-0"}, POD_GROUP, "db"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "k8s.deployment.name=cart,k8s.pod.name=x-1"}, POD_GROUP, "cart"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "k8s.container.name=web"}, POD_GROUP, "web"),
        ({}, POD_GROUP, "shop"),
        # HOSTNAME of a container outside of Kubernetes is its id, of a pod in the host's network the host's.
        ({"HOSTNAME": "3f4e9c0d1b2a"}, f"0::/docker/{ID}\n", "shop"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "h1"}, POD_GROUP, "shop"),
        ({}, "0::/system.slice/shop-web.service\n", "shop-web"),
        ({}, f"0::/system.slice/docker.service/docker/{ID}\n", "shop"),
        ({}, "0::/\n", "shop"),
    ],
)
def test_the_first_known_name_of_a_service_wins(
    environment: dict[str, str], cgroup: str, service: str
) -> None:
    assert labels(process(environment=environment, cgroup=cgroup))["service"] == service


@pytest.mark.parametrize(
    ("environment", "version"),
    [
        (OTEL, "1.2,3"),
        (without("OTEL_RESOURCE_ATTRIBUTES"), "9"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "container.image.tag=v4"}, "v4"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "container.image.name=registry:5000/shop:v5@sha256:00"}, "v5"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "container.image.name=registry:5000/shop"}, BUILD_ID[:12]),
        ({}, BUILD_ID[:12]),
    ],
)
def test_the_first_known_version_wins(environment: dict[str, str], version: str) -> None:
    assert labels(process(environment=environment))["version"] == version


def test_a_process_without_any_version_has_no_such_label() -> None:
    assert "version" not in labels(process(build_id=""))


def test_where_it_runs_is_declared_or_configured() -> None:
    identity = HostIdentity("h1", "dev", "us-2", {"team": "infra"})
    declared_labels = labels(process(environment=OTEL, cgroup=POD_GROUP), identity)
    assert declared_labels == {
        "host": "h1", "service": "otel", "version": "1.2,3", "environment": "prod", "region": "eu-1",
        "namespace": "shop", "pod": UID, "container": "3f4e9c0d1b2a", "process": "python3.11",
        "thread": "main", "team": "infra",
    }  # fmt: skip
    plain = labels(process(cgroup="0::/system.slice/pg@15.service\n"), identity)
    assert (plain["environment"], plain["region"], plain["unit"]) == ("dev", "us-2", "pg@15.service")
    assert labels(process(environment={"DD_ENV": "qa"}), identity)["environment"] == "qa"


def test_a_jvm_declares_by_system_properties() -> None:
    line = "java -Dotel.service.name=cart -Ddd.version=3 -Dother=x -jar app.jar"
    found = labels(process("/usr/bin/java", line, {"OTEL_SERVICE_NAME": "inherited"}))
    assert (found["service"], found["version"]) == ("cart", "3")


def test_rules_have_the_last_word_and_the_first_fitting_rule_wins() -> None:
    rules = (
        Rule((("process", "java"),), (("service", "never"),)),
        Rule((("process", "python*"), ("command", "* -m shop*")), (("service", "ruled"), ("team", "a"))),
        Rule((("service", "shop"),), (("service", "later"), ("version", "7"))),
    )
    found = labels(process(), HostIdentity("h1", rules=rules))
    assert (found["service"], found["team"], found["version"]) == ("ruled", "a", "7")


def test_kernel_threads_are_one_service() -> None:
    worker = Process(2, 2, 1, "kworker/0:1-events", "", is_kernel=True)
    assert labels(worker, comm="kworker/0:1-events") == {
        "host": "h1", "service": "kernel", "process": "kworker", "thread": "kworker/0:1-events",
    }  # fmt: skip


def test_a_process_that_could_not_be_read_is_not_guessed_at() -> None:
    assert labels(None, comm="sh") == {
        "host": "h1",
        "service": UNKNOWN_SERVICE,
        "process": "sh",
        "thread": "sh",
    }


def test_another_image_of_the_same_pid_is_identified_anew() -> None:
    identifier = Identifier(HostIdentity("h1"))
    assert identifier.labels(process(), "a")["service"] == "shop"
    assert identifier.labels(process(command_line="python3 -m cart", start_ns=2), "a")["service"] == "cart"
    assert identifier.labels(process(), "b")["thread"] == "b"


def test_the_host_is_named_by_the_machine_unless_configured() -> None:
    assert Identifier(HostIdentity()).host_labels() == {"host": socket.gethostname()}


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("checkout-7d9f8b6c5d-x2x4k", "checkout"),
        ("check-out-7d9f8b6c5d-x2x4k", "check-out"),
        ("node-agent-x2x4k", "node-agent"),
        ("db-0", "db"),
        ("report-28345670-bc2d4", "report"),
        ("standalone", "standalone"),
        ("web-first", "web-first"),
        ("", ""),
    ],
)
def test_workload_of_a_pods_name(pod: str, workload: str) -> None:
    assert workload_of(pod) == workload


def test_resource_attributes_are_percent_decoded_and_malformed_parts_left_out() -> None:
    text = "service.name=a%20b, service.version = 1 ,nonsense,=x,k8s.pod.name=p=q"
    assert parse_resource_attributes(text) == {
        "service.name": "a b", "service.version": "1", "k8s.pod.name": "p=q",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("  a b \n", "a b"),
        ("a\0b\x1b[31m", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m"),
        ("a\udcffb", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\u202eb", "a\N{REPLACEMENT CHARACTER}b"),
        ("größe", "größe"),
        ("x" * 5000, "x" * MAX_LABEL_VALUE_BYTES),
        ("é" * 5000, "é" * (MAX_LABEL_VALUE_BYTES // 2)),
        ("   ", ""),
    ],
)
def test_values_are_made_printable_and_bounded(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_only_named_variables_are_read() -> None:
    """The agent keeps no other variable of a process, so identity must not depend on one."""

    class Watched(dict[str, str]):
        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            assert key in ENVIRONMENT_NAMES
            return super().get(key, default)

    everything = dict.fromkeys(ENVIRONMENT_NAMES, "x")
    found = declared(Watched(everything), (), True, "h1")
    assert all(getattr(found, each.name) is not None for each in fields(found))


_HOSTILE = st.text(max_size=30) | st.sampled_from(
    ["\0", "\udc80" * 9, "x" * 1_000_000, "%ff%00", "a=b,", "\x1b[2J"]
)


@given(
    st.builds(
        Process,
        pid=st.integers(0, 9),
        namespace_pid=st.just(1),
        start_ns=st.integers(0, 9),
        comm=_HOSTILE,
        exe=_HOSTILE | st.sampled_from(["/usr/bin/python3", "/bin/java", "/bin/busybox", "/bin/node"]),
        exe_build_id=st.text("0123456789abcdef", max_size=40),
        command_line=st.lists(_HOSTILE, max_size=4).map(tuple),
        environment=st.dictionaries(st.sampled_from(sorted(ENVIRONMENT_NAMES)), _HOSTILE, max_size=4),
        cgroup=_HOSTILE | st.just(POD_GROUP),
        is_kernel=st.booleans(),
    ),
    _HOSTILE,
)
def test_hostile_processes_get_clean_bounded_labels(subject: Process, comm: str) -> None:
    for name, value in labels(subject, comm=comm).items():
        assert LABEL_NAME.match(name)
        assert name in KNOWN_LABELS or name == "unit"
        assert 0 < len(value.encode()) <= MAX_LABEL_VALUE_BYTES
        assert value.isprintable()
