"""Return addresses move back by one, exactly once; the leaf of a user stack does not."""

import pytest

from agent.known_stacks import Recent
from agent.process import Mapping, Process
from agent.resolve import PROCESS_GONE, TRUNCATED, Resolver
from agent.samples import U64, UserEnd
from agent.symbolize.symbolizer import UNMAPPED
from fleetprof.frames import UNSAMPLED, Frame, FrameKind, frame_id, stack_id
from fleetprof.losses import Losses
from fleetprof.profile_types import ProfileType
from tests.unit.rows import Row, captures


class Echo:
    """Names every address by its number, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
        self.asked.append(addrs.tolist())
        return [Frame(FrameKind.NATIVE, f"u{addr}", process.comm) for addr in addrs.tolist()]

    def kernel_frames(self, addrs: U64) -> list[Frame]:
        return [Frame(FrameKind.KERNEL, f"k{addr}", "[kernel]") for addr in addrs.tolist()]

    def take_losses(self) -> Losses:
        return Losses()


def process(comm: str = "app") -> Process:
    return Process(7, 7, 0, comm, "/app", mappings=[Mapping(0, 10**6, 0, "/app")])


def names(resolver: Resolver, stack: tuple[int, ...]) -> list[str]:
    return [resolver.frames[number].name for number in stack]


def test_stacks_are_kernel_then_user_leaf_first_with_return_addresses_moved_back() -> None:
    resolver = Resolver(Echo())
    rows = captures([Row(user=(100, 200, 300), kernel=(11, 22))])
    (stack,) = resolver.resolve(rows, [process()])
    assert names(resolver, stack) == ["k11", "k21", "u100", "u199", "u299"]
    assert resolver.stack_id(stack) == stack_id(stack)


def test_the_kernel_leaf_of_a_wait_is_a_return_address_too() -> None:
    resolver = Resolver(Echo())
    rows = captures([Row(type=ProfileType.OFFCPU, kernel=(11, 22)), Row(kernel=(11, 22))])
    wait, sample = resolver.resolve(rows, [None, None])
    assert (names(resolver, wait), names(resolver, sample)) == (["k10", "k21"], ["k11", "k21"])


def test_rows_without_any_stack_are_unsampled_and_lost_processes_say_so() -> None:
    resolver = Resolver(Echo())
    unsampled, gone = resolver.resolve(captures([Row(), Row(user=(5,))]), [None, None])
    assert unsampled == (frame_id(UNSAMPLED),)
    assert gone == (frame_id(PROCESS_GONE),)


def test_equal_addresses_of_two_processes_are_not_confused() -> None:
    resolver = Resolver(Echo())
    rows = captures([Row(user=(100,)), Row(user=(100,))])
    one, other = resolver.resolve(rows, [process("a"), process("b")])
    assert one != other


def test_known_addresses_are_not_looked_up_again_until_mappings_change() -> None:
    echo, owner = Echo(), process()
    resolver = Resolver(echo)
    rows = captures([Row(user=(100, 200))])
    resolver.resolve(rows, [owner])
    resolver.turn()
    resolver.resolve(rows, [owner])
    assert echo.asked == [[100, 199]]
    owner.mappings = [*owner.mappings, Mapping(10**6, 2 * 10**6, 0, "/lib.so")]
    resolver.resolve(rows, [owner])
    assert echo.asked == [[100, 199], [100, 199]]


def test_of_a_program_that_makes_code_only_what_may_change_is_looked_up_every_window() -> None:
    class Maker(Echo):
        def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
            frames = super().user_frames(process, addrs)
            return [Frame(f.kind, "", f.mapping) if f.function == "u499" else f for f in frames]

    echo, owner = Maker(), process()
    owner.mappings.append(Mapping(10**6, 2 * 10**6, 0, ""))
    resolver = Resolver(echo)
    rows = captures([Row(user=(100, 200)), Row(user=(10**6, 200)), Row(user=(100, 500))])
    found = []
    for _ in range(3):
        found.append([names(resolver, stack) for stack in resolver.resolve(rows, [owner] * 3)])
        resolver.turn()
    assert echo.asked == [[100, 199, 499, 10**6], [499, 10**6], [499, 10**6]]
    assert found[0] == found[1] == found[2]


def test_names_of_made_code_and_of_kernel_modules_may_come_later() -> None:
    class Later(Echo):
        known = ""

        def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
            return [Frame(FrameKind.JIT, self.known, "[jit]")] * len(addrs)

        def kernel_frames(self, addrs: U64) -> list[Frame]:
            return [Frame(FrameKind.KERNEL, self.known, "[kernel]")] * len(addrs)

    owner, symbols = process(), Later()
    owner.mappings.append(Mapping(10**6, 2 * 10**6, 0, ""))
    resolver = Resolver(symbols)
    rows = captures([Row(user=(10**6,), kernel=(5,))])
    resolver.resolve(rows, [owner])
    resolver.turn()
    symbols.known = "made"
    (stack,) = resolver.resolve(rows, [owner])
    assert [resolver.frames[number].function for number in stack] == ["made", "made"]


def test_a_stack_that_is_not_needed_for_long_is_forgotten() -> None:
    known: Recent[str, int] = Recent()
    known["kept"], known["left"] = 1, 2
    for _ in range(3):
        assert known.get("kept") == 1
        known.turn()
    assert ("kept" in known, "left" in known, len(known)) == (True, False, 1)
    known.discard("kept")
    assert known.get("kept") is None


def test_address_zero_is_not_wrapped_around() -> None:
    resolver = Resolver(Echo())
    (stack,) = resolver.resolve(captures([Row(user=(4, 0))]), [process()])
    assert names(resolver, stack) == ["u4", "u0"]


@pytest.mark.parametrize(
    ("end", "outermost", "marked"),
    [
        (UserEnd.ROOT, 300, False),
        (UserEnd.UNKNOWN, 300, False),
        (UserEnd.NO_TABLE, 300, True),
        (UserEnd.BUDGET, 300, True),
        (UserEnd.NO_TABLE, 1, False),
    ],
)
def test_a_stack_that_was_cut_says_so_unless_it_ends_where_threads_begin(
    end: UserEnd, outermost: int, marked: bool
) -> None:
    class Start(Echo):
        def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
            frames = super().user_frames(process, addrs)
            return [Frame(f.kind, "_start", f.mapping) if f.function == "u0" else f for f in frames]

    resolver = Resolver(Start())
    rows = captures([Row(user=(100, outermost))])
    rows.user_end[:] = end
    (stack,) = resolver.resolve(rows, [process()])
    assert (stack[-1] == frame_id(TRUNCATED)) == marked
    assert len(stack) == 2 + marked


def test_what_the_kernel_guesses_while_tables_are_loaded_ends_at_the_first_address_outside_of_memory() -> (
    None
):
    class Guess(Echo):
        def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
            return [
                UNMAPPED if frame.function == "u8" else frame for frame in super().user_frames(process, addrs)
            ]

    resolver = Resolver(Guess())
    rows = captures([Row(user=(100, 200, 9, 300)), Row(user=(8, 200)), Row(user=(100, 9, 300))])
    rows.user_end[:] = [UserEnd.NEW, UserEnd.NEW, UserEnd.UNKNOWN]
    found = [names(resolver, stack) for stack in resolver.resolve(rows, [process()] * 3)]
    assert found == [
        ["u100", "u199", "[truncated]"],
        ["[unmapped]", "u199", "[truncated]"],
        ["u100", "[unmapped]", "u299"],
    ]
