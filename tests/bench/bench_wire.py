"""Bytes on the wire of our Push, against the same profiles as OTLP profiles with gzip.

    make bench        or        .venv/bin/python -m tests.bench.bench_wire [HOSTS] [WINDOWS]

Windows of simulated hosts, whose stacks were captured on real programs. Both are compressed as gRPC does it. Ours
is what an agent sends once most of its stacks are known: a definition crosses the wire once, but new stacks go on
appearing, so it is shown with and without what new ones cost. OTLP has no memory between requests: each carries
its dictionary. It is written as small as its layout allows: strings,
functions, stacks and attributes once a request, a sample a stack; once with the time of each sample, as ours
has, and once without.
"""

import gzip
import sys
import time
from dataclasses import dataclass, field

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import Profile, ScopeProfiles

from agent.aggregate import ClosedWindow
from agent.run_numbers import Encoded
from fleetprof.frames import Frame
from fleetprof.profile_types import OFFSET_STEP_NS, ProfileType
from fleetprof.v1 import ingest_pb2
from query_ui.simulate.agents import Agents
from query_ui.simulate.draw import Drawer
from query_ui.simulate.fleet import Plan, make_fleet

WARM_WINDOWS = 360
"""An hour, after which most stacks are known."""
HOSTS, WINDOWS, SERVICES = 10, 30, 20
BAR = 0.1
_OF_RESOURCE = {
    "service": "service.name",
    "version": "service.version",
    "host": "host.name",
    "environment": "deployment.environment.name",
    "region": "cloud.region",
    "namespace": "k8s.namespace.name",
    "pod": "k8s.pod.name",
    "container": "k8s.container.name",
}
_TYPES = {ProfileType.CPU: "cpu", ProfileType.RUNQ: "runq", ProfileType.OFFCPU: "off_cpu"}


@dataclass
class OtlpWriter:
    """One window as an OTLP request."""

    timed: bool
    message: ExportProfilesServiceRequest = field(default_factory=ExportProfilesServiceRequest)
    strings: dict[str, int] = field(default_factory=lambda: {"": 0})
    frames: dict[Frame, int] = field(default_factory=dict)
    mappings: dict[tuple[str, str], int] = field(default_factory=dict)
    stacks: dict[int, int] = field(default_factory=dict)
    attributes: dict[tuple[str, str], int] = field(default_factory=dict)
    scopes: dict[tuple[tuple[str, str], ...], ScopeProfiles] = field(default_factory=dict)
    profiles: dict[tuple[int, int], Profile] = field(default_factory=dict)

    def write(self, window: ClosedWindow) -> bytes:
        """The encoded request."""
        tables = self.message.dictionary
        for name in ("mapping", "location", "function", "link", "attribute", "stack"):
            getattr(tables, f"{name}_table").add()
        rows, starts = window.rows, window.rows.offset_starts
        for row in range(len(rows.value)):
            type_ = ProfileType(int(rows.type[row]))
            if type_ not in _TYPES:
                continue
            labels = window.series[int(rows.series[row])]
            profile = self._profile(labels, type_, window)
            sample = profile.samples.add(stack_index=self._stack(window, int(rows.stack[row])))
            sample.attribute_indices.extend(
                self._attribute(f"thread.{name}" if name == "thread" else name, value)
                for name, value in labels.items()
                if name not in _OF_RESOURCE and value
            )
            value, steps = int(rows.value[row]), rows.offsets[starts[row] : starts[row + 1]].tolist()
            if self.timed and steps:
                begin_ns = window.times.start_unix_ns
                sample.timestamps_unix_nano.extend(begin_ns + step * OFFSET_STEP_NS for step in steps)
                each = value // len(steps)
                sample.values.extend([each] * (len(steps) - 1) + [value - each * (len(steps) - 1)])
            else:
                sample.values.append(value)
        tables.string_table.extend(self.strings)
        return self.message.SerializeToString()

    def _text(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings))

    def _profile(self, labels: dict[str, str], type_: ProfileType, window: ClosedWindow) -> Profile:
        key = tuple((_OF_RESOURCE[name], value) for name, value in labels.items() if name in _OF_RESOURCE)
        scope = self.scopes.get(key)
        if scope is None:
            resource = self.message.resource_profiles.add()
            for name, value in key:
                resource.resource.attributes.add(key=name).value.string_value = value
            scope = self.scopes[key] = resource.scope_profiles.add()
        profile = self.profiles.get((id(scope), type_))
        if profile is None:
            profile = self.profiles[id(scope), type_] = scope.profiles.add(
                time_unix_nano=window.times.start_unix_ns, duration_nano=window.times.covered_ns
            )
            profile.sample_type.type_strindex = self._text(_TYPES[type_])
            profile.sample_type.unit_strindex = self._text("nanoseconds")
        return profile

    def _attribute(self, name: str, value: str) -> int:
        key = (name, value)
        if key not in self.attributes:
            self.attributes[key] = len(self.attributes) + 1
            entry = self.message.dictionary.attribute_table.add(key_strindex=self._text(name))
            entry.value.string_value = value
        return self.attributes[key]

    def _stack(self, window: ClosedWindow, place: int) -> int:
        if not window.stack_ids[place]:
            return 0
        if place not in self.stacks:
            self.stacks[place] = len(self.stacks) + 1
            frames = [self._location(window.frames[number]) for number in window.stacks[place]]
            self.message.dictionary.stack_table.add(location_indices=frames)
        return self.stacks[place]

    def _location(self, frame: Frame) -> int:
        if frame not in self.frames:
            self.frames[frame] = number = len(self.frames) + 1
            tables = self.message.dictionary
            location = tables.location_table.add(mapping_index=self._mapping(frame), address=frame.offset)
            location.attribute_indices.append(self._attribute("profile.frame.type", frame.kind.name.lower()))
            if frame.function:
                tables.function_table.add(
                    name_strindex=self._text(frame.function), filename_strindex=self._text(frame.file)
                )
                location.lines.add(function_index=len(tables.function_table) - 1, line=frame.line)
            return number
        return self.frames[frame]

    def _mapping(self, frame: Frame) -> int:
        key = (frame.mapping, frame.build_id)
        if not frame.mapping:
            return 0
        if key not in self.mappings:
            self.mappings[key] = len(self.mappings) + 1
            entry = self.message.dictionary.mapping_table.add(filename_strindex=self._text(frame.mapping))
            if frame.build_id:
                entry.attribute_indices.append(
                    self._attribute("process.executable.build_id.gnu", frame.build_id)
                )
        return self.mappings[key]


@dataclass
class Sizes:
    """Bytes of all measured windows."""

    windows: int = 0
    rows: int = 0
    first: int = 0
    ours: int = 0
    undefined: int = 0
    """Ours without definitions."""
    otlp: int = 0
    otlp_untimed: int = 0


def measure(hosts: int, windows: int) -> Sizes:
    """Print and return the sizes; every host warms up for an hour before."""
    end_s = int(time.time()) // 10 * 10
    length_s = 10 * (WARM_WINDOWS + windows + 1)
    fleet = make_fleet(Plan(hosts, SERVICES, end_s - length_s, end_s))
    drawer, agents, sizes = Drawer(fleet), Agents(fleet), Sizes()
    for host in fleet.hosts:
        run = host.runs[0]
        start_s = max(run.start_s, end_s - length_s)
        for place, drawn in enumerate(drawer.draw(host, start_s, WARM_WINDOWS + windows)):
            out = agents.outgoing(host, run, drawn, start_s + 10 * place)
            agents.answered(out, holding_all(out.numbered))
            if place == 0:
                sizes.first += packed(out.data)
            if place >= WARM_WINDOWS:
                whole = drawn.whole(fleet.book)
                sizes.windows += 1
                sizes.rows += len(whole.rows.value)
                sizes.ours += packed(out.data)
                sizes.undefined += packed(_without_definitions(out.data))
                sizes.otlp += packed(OtlpWriter(True).write(whole))
                sizes.otlp_untimed += packed(OtlpWriter(False).write(whole))
    _print(sizes, hosts)
    return sizes


def holding_all(sent: Encoded | None) -> ingest_pb2.PushResponse:
    """The answer of a collector that has all the agent's numbers."""
    assert sent
    stacks, frames = len(sent.window.stack_ids), len(sent.definitions.frames.kind)
    return ingest_pb2.PushResponse(
        known_numbers=sent.window.first_stack_number - 1 + stacks,
        known_frames=sent.definitions.first_frame_number - 1 + frames,
    )


def packed(data: bytes) -> int:
    """Its size as gRPC compresses it."""
    return len(gzip.compress(data, 6, mtime=0))


def _without_definitions(data: bytes) -> bytes:
    request = ingest_pb2.PushRequest.FromString(data)
    request.ClearField("definitions")
    return request.SerializeToString()


def _print(sizes: Sizes, hosts: int) -> None:
    per = 1 / sizes.windows
    print(f"\n{hosts} hosts, {sizes.windows} windows of {sizes.rows * per:.0f} rows, after an hour each")
    print("bytes a window, all compressed:")
    print(f"  Push, an agent's first  {sizes.first / hosts:10,.0f}")
    print(f"  Push, steady            {sizes.ours * per:10,.0f}  ({sizes.ours / sizes.rows:.1f} a row)")
    print(
        f"  Push, nothing new       {sizes.undefined * per:10,.0f}  ({sizes.undefined / sizes.rows:.1f} a row)"
    )
    print(f"  OTLP                    {sizes.otlp * per:10,.0f}  ({sizes.otlp / sizes.rows:.1f} a row)")
    print(f"  OTLP, no times          {sizes.otlp_untimed * per:10,.0f}")
    print(
        f"ratio to OTLP: steady {sizes.ours / sizes.otlp:.3f}, nothing new {sizes.undefined / sizes.otlp:.3f}"
    )
    print(f"bar {BAR}: {'met' if sizes.ours <= BAR * sizes.otlp else 'not met'}")


def test_wire() -> None:
    measure(4, WINDOWS)


if __name__ == "__main__":
    measure(*(int(each) for each in sys.argv[1:] or (HOSTS, WINDOWS)))
