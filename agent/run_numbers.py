"""The numbers of one run's stacks and frames, and requests that use them (wire_numbers.py)."""

from dataclasses import dataclass

from agent.aggregate import ClosedWindow
from agent.encode import encode_definitions, encode_window, frames_of
from agent.wire_numbers import WireNumbers
from fleetprof.v1 import ingest_pb2


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request's content, and what it gives numbers."""

    window: ingest_pb2.Window
    definitions: ingest_pb2.Definitions
    new_frames: list[int]

    @property
    def uses_numbers(self) -> bool:
        """Whether it can be read only by who holds the run's numbers."""
        return bool(self.window.stack_numbers or self.definitions.frame_numbers)


class RunNumbers:
    """Belongs to one thread, and one window at a time: its answer says what the next one may use."""

    def __init__(self) -> None:
        self._stacks, self._frames = WireNumbers(), WireNumbers()

    def encode(
        self, window: ClosedWindow, host: str, defining: ClosedWindow, stacks: set[int], series: set[int]
    ) -> Encoded:
        """A window, and the definitions of those of the stacks and series of `defining` that are named."""
        frames = frames_of(defining, stacks)
        numbering = self._frames.of(frames)
        new = [id_ for id_, number in zip(frames, numbering.numbers.tolist(), strict=True) if not number]
        return Encoded(
            encode_window(window, host, self._stacks.of(window.stack_ids)),
            encode_definitions(defining, stacks, series, numbering),
            new,
        )

    def answered(self, sent: Encoded, answer: ingest_pb2.PushResponse) -> None:
        """The collector took what was sent."""
        window, definitions = sent.window, sent.definitions
        self._stacks.answered(window.stack_ids, window.first_stack_number, answer.known_numbers)
        self._frames.answered(sent.new_frames, definitions.first_frame_number, answer.known_frames)

    def forget(self) -> None:
        """The collector does not hold what we think: the next request names everything."""
        self._stacks.forget()
        self._frames.forget()
