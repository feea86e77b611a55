"""The faults: each breaks something, lets load go on for a moment, and mends what must be mended by hand."""

import random
import time
from collections.abc import Callable

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


def take_over(scene: Scene, chance: random.Random) -> None:
    """A second collector on the same data is refused while the first lives, and takes over when it is killed."""
    target = scene.proxy.target
    second = scene.another_collector()
    code = second.child.wait(60)
    assert code not in (0, -11), f"the second collector ended with {code}"
    scene.proxy.target = target
    scene.kill_collector()
    scene.start_collector()


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_collector,
        kill_collector_in_recovery,
        kill_agents,
        tear_connections,
        lose_answers,
        fill_disk,
        step_agents,
        step_collector,
        take_over,
    )
}


def run_faults(scene: Scene, names: list[str], chance: random.Random, say: Callable[[str], None]) -> None:
    """Each fault in turn, under load; after each, windows must flow again."""
    began_s = time.monotonic()
    for number, name in enumerate(names, 1):
        FAULTS[name](scene, chance)
        scene.wait_for_windows(count=8)
        say(f"{number:4} {time.monotonic() - began_s:7.1f} s  {name}")
