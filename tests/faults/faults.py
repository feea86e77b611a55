"""The faults: each breaks something, lets load go on for a moment, and mends what must be mended by hand."""

import random
import signal
import time
from collections.abc import Callable

from tests.faults.places import FourServers, OneServer
from tests.faults.proxy import random_cut
from tests.faults.scene import Scene

Fault = Callable[[Scene, random.Random], None]


def kill_collector(scene: Scene, chance: random.Random) -> None:
    """SIGKILL at a random moment of its work, and a start on the same data."""
    time.sleep(chance.uniform(0, 0.5))
    scene.kill_collector()
    time.sleep(chance.choice([0.0, 1.5]))
    scene.start_collector()


def kill_collector_in_recovery(scene: Scene, chance: random.Random) -> None:
    """SIGKILL again while it finishes what the first one interrupted."""
    scene.kill_collector()
    for _ in range(2):
        scene.start_collector()
        time.sleep(chance.uniform(0.5, 2.5))
        scene.kill_collector()
    scene.start_collector()


def kill_agents(scene: Scene, chance: random.Random) -> None:
    """SIGKILL of agents, some windows of which wait on disk because the collector is away."""
    if chance.random() < 0.5:
        scene.proxy.hold_answers(held=True)
        time.sleep(chance.uniform(1.0, 2.5))
        scene.kill_agents()
        scene.proxy.hold_answers(held=False)
    else:
        scene.kill_agents()


def tear_connections(scene: Scene, chance: random.Random) -> None:
    """All connections are cut in the middle of the bytes, several times."""
    for _ in range(chance.randrange(1, 5)):
        scene.proxy.cut_after(random_cut(chance))
        time.sleep(chance.uniform(0.05, 0.5))


def lose_answers(scene: Scene, chance: random.Random) -> None:
    """Windows are stored, but their acknowledgements never arrive: all come again."""
    scene.proxy.hold_answers(held=True)
    time.sleep(chance.uniform(0.8, 2.0))
    scene.proxy.hold_answers(held=False)


def fill_disk(scene: Scene, chance: random.Random) -> None:
    """Not a byte is free where the collector stores."""
    scene.fill_disk()
    time.sleep(chance.uniform(0.5, 2.0))
    if chance.random() < 0.3:
        scene.kill_collector()
        scene.free_disk()
        scene.start_collector()
    else:
        scene.free_disk()


def step_agents(scene: Scene, chance: random.Random) -> None:
    """Agents' clocks jump by an hour: ahead, their windows are refused and counted; behind, they are late."""
    scene.step_agents(chance.choice([-3600, 3600]))


def step_collector(scene: Scene, chance: random.Random) -> None:
    """The collector's clock jumps by an hour, and back."""
    scene.step_collector(chance.choice([-3600, 3600]))
    time.sleep(chance.uniform(0.5, 1.5))
    scene.step_collector(0)


def refuse_second(scene: Scene, chance: random.Random) -> None:
    """A second collector on the same data, while the first lives, ends at once and changes nothing."""
    code = scene.another_collector(scene.port(), scene.data).ended()
    assert code not in (0, -11), f"the second collector ended with {code}"


def take_over(scene: Scene, chance: random.Random) -> None:
    """A second collector waits on the same data, and takes over when the first one is killed."""
    port = scene.port()
    second = scene.another_collector(port, scene.data, standby=True)
    time.sleep(chance.uniform(0, 4))
    scene.kill_collector()
    scene.replace_collector(second, port, scene.data)


def take_over_elsewhere(scene: Scene, chance: random.Random) -> None:
    """A second collector, which has neither the journal nor the disk of the first, takes over from it."""
    port, data = scene.port(), scene.other_data
    second = scene.another_collector(port, data, standby=True)
    time.sleep(chance.uniform(0, 4))
    scene.kill_collector()
    scene.replace_collector(second, port, data)


def take_over_from_sleeper(scene: Scene, chance: random.Random) -> None:
    """A collector stands still, another one takes over; awake again, the first must not write, and ends."""
    port, data, sleeper = scene.port(), scene.other_data, scene.collector
    second = scene.another_collector(port, data, standby=True)
    time.sleep(chance.uniform(0, 4))
    sleeper.child.send_signal(signal.SIGSTOP)
    scene.replace_collector(second, port, data)
    scene.proxy.cut_after(0)
    scene.wait_for_windows(count=4)  # a server waits 20 s for the rest of a packet
    sleeper.child.send_signal(signal.SIGCONT)
    code = sleeper.ended()
    assert code not in (0, -11), f"the collector that slept ended with {code}"


def kill_server(scene: Scene, chance: random.Random) -> None:
    """SIGKILL of the ClickHouse server in the middle of what it does."""
    assert isinstance(scene.place, OneServer)
    time.sleep(chance.uniform(0, 1))
    scene.place.server.kill()
    time.sleep(chance.choice([0.0, 2.0]))
    scene.place.heal()


def kill_replica(scene: Scene, chance: random.Random) -> None:
    """SIGKILL of one server of four; load goes on without it."""
    assert isinstance(scene.place, FourServers)
    time.sleep(chance.uniform(0, 1))
    chance.choice(scene.place.servers.all).kill()
    if chance.random() < 0.7:
        scene.wait_for_windows(count=4)
    scene.place.heal()


def kill_zookeeper(scene: Scene, chance: random.Random) -> None:
    """SIGKILL of ZooKeeper: the servers can only be read until it is back."""
    assert isinstance(scene.place, FourServers)
    time.sleep(chance.uniform(0, 1))
    scene.place.servers.zookeeper.kill()
    time.sleep(chance.uniform(0, 4))
    scene.place.heal()


_ANYWHERE: tuple[Fault, ...] = (
    kill_collector,
    kill_collector_in_recovery,
    kill_agents,
    tear_connections,
    lose_answers,
    step_agents,
    step_collector,
    refuse_second,
)
_ON_SERVERS: tuple[Fault, ...] = (take_over, take_over_elsewhere, take_over_from_sleeper)

FAULTS: dict[str, dict[str, Fault]] = {
    place: {fault.__name__: fault for fault in faults}
    for place, faults in {
        "chdb": (*_ANYWHERE, fill_disk),
        "server": (*_ANYWHERE, fill_disk, kill_server, *_ON_SERVERS),
        "cluster": (*_ANYWHERE, kill_replica, kill_zookeeper, *_ON_SERVERS),
    }.items()
}
"""Place (places.py) → the faults that it can have, by name."""


def run_faults(
    scene: Scene, faults: list[Fault], chance: random.Random, say: Callable[[str], None], longest_s: float
) -> dict[str, list[float]]:
    """Each fault in turn, under load; after each, windows must flow again. Returns how long each took, by kind.

    None begins after `longest_s`.
    """
    began_s = time.monotonic()
    seconds: dict[str, list[float]] = {fault.__name__: [] for fault in faults}
    for number, fault in enumerate(faults, 1):
        fault_s = time.monotonic()
        if fault_s > began_s + longest_s:
            break
        fault(scene, chance)
        scene.wait_for_windows(count=8)
        seconds[fault.__name__].append(time.monotonic() - fault_s)
        say(f"{number:4} {time.monotonic() - began_s:7.1f} s  {fault.__name__}")
    return seconds
