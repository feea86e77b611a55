"""What a process declares about itself: OpenTelemetry, Datadog and Kubernetes conventions.

The variables are those of the OpenTelemetry SDK specification
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), Datadog's unified service
tagging, and the names under which Kubernetes' downward API is usually exposed. A JVM may declare the same by
system properties.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

_POD_NAMES = ("POD_NAME", "K8S_POD_NAME", "MY_POD_NAME", "KUBERNETES_POD_NAME")
_NAMESPACES = ("POD_NAMESPACE", "K8S_NAMESPACE", "MY_POD_NAMESPACE", "KUBERNETES_NAMESPACE")

ENVIRONMENT_NAMES = frozenset(
    ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "DD_SERVICE", "DD_VERSION", "DD_ENV", "HOSTNAME",
     "KUBERNETES_SERVICE_HOST", "npm_package_name", "npm_package_version", *_POD_NAMES, *_NAMESPACES)
)  # fmt: skip
"""The variables of a process that identity reads; no other is ever kept."""

_JVM_PROPERTIES = {
    "-Dotel.service.name": "OTEL_SERVICE_NAME",
    "-Dotel.resource.attributes": "OTEL_RESOURCE_ATTRIBUTES",
    "-Ddd.service": "DD_SERVICE",
    "-Ddd.version": "DD_VERSION",
    "-Ddd.env": "DD_ENV",
}

# Kubernetes makes generated names from these letters (k8s.io/apimachinery/pkg/util/rand).
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_WORKLOADS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(.+)-{_SAFE}{{6,10}}-{_SAFE}{{5}}",  # Deployment: name, template hash, pod
        rf"(.+)-\d{{7,10}}-{_SAFE}{{5}}",  # CronJob: name, scheduled minute, pod
        rf"(.+)-{_SAFE}{{5}}",  # DaemonSet, Job, ReplicaSet
        r"(.+)-\d{1,4}",  # StatefulSet: name, ordinal
    )
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What was declared; "" for what was not."""

    service: str = ""
    version: str = ""
    environment: str = ""
    region: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    workload: str = ""
    """Name of the Kubernetes workload (Deployment, StatefulSet, …), declared or told from the pod's name."""
    image_tag: str = ""


def declared(
    environment: Mapping[str, str], command_line: Sequence[str], in_pod: bool, host: str
) -> Declared:
    """Read the declarations of a process.

    `in_pod`: its control group is a Kubernetes pod's, so that HOSTNAME is the pod's name (unless the pod
    shares the network of its node, whose name is `host`).
    """
    env = {**environment, **_jvm_properties(command_line)}
    resource = parse_resource_attributes(env.get("OTEL_RESOURCE_ATTRIBUTES", ""))

    def attribute(*names: str) -> str:
        return next((resource[name] for name in names if resource.get(name)), "")

    pod = attribute("k8s.pod.name") or _variable(env, _POD_NAMES) or _host_name(env, in_pod, host)
    return Declared(
        service=env.get("OTEL_SERVICE_NAME") or attribute("service.name") or env.get("DD_SERVICE", ""),
        version=attribute("service.version") or env.get("DD_VERSION", ""),
        environment=attribute("deployment.environment.name", "deployment.environment")
        or env.get("DD_ENV", ""),
        region=attribute("cloud.region"),
        namespace=attribute("k8s.namespace.name")
        or _variable(env, _NAMESPACES)
        or attribute("service.namespace"),
        pod=pod,
        container=attribute("k8s.container.name", "container.name"),
        workload=_declared_workload(resource) or workload_of(pod),
        image_tag=attribute("container.image.tag") or _image_tag(attribute("container.image.name")),
    )


def parse_resource_attributes(text: str) -> dict[str, str]:
    """`key=value,key=value` with percent-encoded values (W3C baggage); malformed parts are left out."""
    parts = (part.partition("=") for part in text.split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in parts if equals and name.strip()}


def workload_of(pod: str) -> str:
    """The workload that a generated pod name belongs to: `checkout-7d9f8b6c5d-x2x4k` → `checkout`.

    A name that looks like none of the generated forms stays as it is.
    """
    matches = (pattern.fullmatch(pod[:253]) for pattern in _WORKLOADS)
    return next((match[1] for match in matches if match), pod)


def _declared_workload(resource: Mapping[str, str]) -> str:
    kinds = ("deployment", "statefulset", "daemonset", "cronjob", "job", "replicaset")
    return next((resource[key] for kind in kinds if resource.get(key := f"k8s.{kind}.name")), "")


def _variable(env: Mapping[str, str], names: Sequence[str]) -> str:
    return next((env[name] for name in names if env.get(name)), "")


def _host_name(env: Mapping[str, str], in_pod: bool, host: str) -> str:
    name = env.get("HOSTNAME", "")
    return name if in_pod and env.get("KUBERNETES_SERVICE_HOST") and name != host else ""


def _jvm_properties(command_line: Sequence[str]) -> dict[str, str]:
    pairs = (argument.partition("=") for argument in command_line if argument.startswith("-D"))
    return {_JVM_PROPERTIES[name]: value for name, _, value in pairs if value and name in _JVM_PROPERTIES}


def _image_tag(image: str) -> str:
    """The tag of `registry:5000/team/shop:1.2@sha256:…`; "" when there is none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]
