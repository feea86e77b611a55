"""The Kubernetes manifests: valid against the API's schemas, and true to the programs that they run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agent.cli import _parser as agent_parser
from agent.config import TABLE as AGENT_TABLE
from agent.config import AgentConfig
from agent.identify.cgroup import parse_cgroup
from collector.config import TABLE as COLLECTOR_TABLE
from collector.config import CollectorConfig
from fleetprof.settings import load_settings
from query_ui.cli import create_parser
from tests.unit.test_deploy_systemd import CAPABILITIES

FOLDER = Path(__file__).resolve().parents[2] / "deploy/kubernetes"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
"""From the first with appArmorProfile to the newest whose schema is at hand."""

Resource = dict[str, Any]


def resources() -> list[Resource]:
    return [found for path in FILES for found in yaml.safe_load_all(path.read_text())]


def one(kind: str, name: str) -> Resource:
    (found,) = (each for each in resources() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


WORKLOADS = {"agent": ("DaemonSet", "fleetprof-agent"), "collector": ("StatefulSet", "fleetprof-collector")}


def pod(role: str) -> Resource:
    return one(*WORKLOADS[role])["spec"]["template"]


def container(role: str) -> Resource:
    (only,) = pod(role)["spec"]["containers"]
    return only


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(version: str) -> None:
    for resource in resources():
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schemas_would_find_a_mistake() -> None:
    wrong = one("DaemonSet", "fleetprof-agent")
    wrong["spec"]["template"]["spec"]["hostPid"] = wrong["spec"]["template"]["spec"].pop("hostPID")
    with pytest.raises(kubernetes_validate.ValidationError, match="hostPid"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_kustomization_lists_every_file_and_image() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(listed["resources"]) == [path.name for path in FILES]
    images = {f"{image['name']}:{image['newTag']}" for image in listed["images"]}
    assert images == {container(role)["image"] for role in WORKLOADS}


def test_the_agent_is_not_privileged_and_has_the_capabilities_of_the_unit() -> None:
    context = container("agent")["securityContext"]
    assert {f"CAP_{name}" for name in context["capabilities"]["add"]} == CAPABILITIES
    assert context["capabilities"]["drop"] == ["ALL"]
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert context["readOnlyRootFilesystem"]
    assert pod("agent")["spec"]["hostPID"]
    assert "hostNetwork" not in pod("agent")["spec"]


def test_the_collector_fits_the_restricted_level() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec, context = pod("collector")["spec"], container("collector")["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (context["allowPrivilegeEscalation"], context["capabilities"]) == (False, {"drop": ["ALL"]})
    assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {
        "configMap",
        "secret",
        "emptyDir",
    }
    assert not any(spec.get(name) for name in ("hostPID", "hostNetwork", "hostIPC"))


@pytest.mark.parametrize("role", WORKLOADS)
def test_nothing_may_ask_the_api_server(role: str) -> None:
    assert pod(role)["spec"]["automountServiceAccountToken"] is False
    assert one("ServiceAccount", f"fleetprof-{role}")["automountServiceAccountToken"] is False
    assert not [each for each in resources() if "Role" in each["kind"]]


def settings(role: str, folder: Path) -> Any:
    """The configuration that the ConfigMap gives."""
    (name, text), *others = one("ConfigMap", f"fleetprof-{role}")["data"].items()
    assert not others
    (folder / name).write_text(text)
    flags = {"config": str(folder / name)}
    if role == "agent":
        return load_settings(AGENT_TABLE, AgentConfig, flags, {}).config
    return load_settings(COLLECTOR_TABLE, CollectorConfig, flags, {}).config


@pytest.mark.parametrize("role", WORKLOADS)
def test_settings_load_and_lead_to_what_is_mounted(role: str, tmp_path: Path) -> None:
    config = settings(role, tmp_path)
    mounts = {mount["mountPath"] for mount in container(role)["volumeMounts"]}
    state = config.state_dir if role == "agent" else config.data
    assert str(state) in mounts
    files = [config.tls_certificate, config.tls_key]
    files.append(config.tls_ca if role == "agent" else config.tls_client_ca)
    # The names that `fleetprof-collector certificates` gives them.
    assert [path.name for path in files] == [f"{role}.pem", f"{role}.key", "ca.pem"]
    assert {str(path.parent) for path in files} <= mounts
    assert f"/etc/fleetprof/{role}.toml" in mounts


def test_agents_push_to_the_service_of_the_collector(tmp_path: Path) -> None:
    address, listens = settings("agent", tmp_path).collector, settings("collector", tmp_path).grpc
    service = one("Service", address.host.split(".")[0])
    assert address.host.split(".")[1:] == [service["metadata"]["namespace"], "svc"]
    assert [port["port"] for port in service["spec"]["ports"]] == [address.port]
    assert [each["containerPort"] for each in container("collector")["ports"]] == [listens.port, 8080]


def ports_named(node: Any) -> Iterator[str]:
    """Every port that is referred to by name, in services, probes and network policies."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("port", "targetPort") and isinstance(value, str):
                yield value
            yield from ports_named(value)
    elif isinstance(node, list):
        for value in node:
            yield from ports_named(value)


def test_names_of_ports_selectors_and_volumes_are_known() -> None:
    ports = {port["name"] for role in WORKLOADS for port in container(role)["ports"]}
    assert set(ports_named(resources())) == ports
    labels = [pod(role)["metadata"]["labels"] for role in WORKLOADS]
    for service in (each for each in resources() if each["kind"] == "Service"):
        assert sum(service["spec"]["selector"].items() <= each.items() for each in labels) == 1
    claims = {
        claim["metadata"]["name"] for claim in one(*WORKLOADS["collector"])["spec"]["volumeClaimTemplates"]
    }
    for role in WORKLOADS:
        volumes = {volume["name"] for volume in pod(role)["spec"]["volumes"]}
        mounted = {mount["name"] for mount in container(role)["volumeMounts"]}
        assert mounted == volumes | (claims if role == "collector" else set())


def test_the_programs_take_their_arguments() -> None:
    agent, collector = container("agent")["args"], container("collector")["args"]
    assert vars(agent_parser().parse_args(agent))["config"] == "/etc/fleetprof/agent.toml"
    given = create_parser(collector[0]).parse_args(collector)
    assert (given.no_agent, given.config) == (True, "/etc/fleetprof/collector.toml")


def test_pods_are_told_from_a_control_group_namespace_of_the_agents_own() -> None:
    """As an agent in a container sees another pod where control groups of version 2 have a namespace."""
    uid = "5a2b1c3d-0000-4000-8000-0123456789ab"
    path = f"/../../kubepods-burstable-pod{uid.replace('-', '_')}.slice/cri-containerd-{'ab' * 32}.scope"
    found = parse_cgroup(f"0::{path}\n")
    assert (found.pod, found.container) == (uid, "ab" * 6)
