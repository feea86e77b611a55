"""Writes the definitions of stacks and series as the message of fleetprof.v1."""

from collections.abc import Iterable, Mapping

from fleetprof.frames import Frame
from fleetprof.v1 import ingest_pb2


class DefinitionWriter:
    """Fills one Definitions message, naming each string and each frame once."""

    def __init__(self, message: ingest_pb2.Definitions, numbered: Iterable[Frame] = ()) -> None:
        """`message` must be empty; `numbered` are the frames that are named by number, in their order."""
        self._message = message
        self._message.strings.append("")
        self._strings = {"": 0}
        self._frames = {frame: place for place, frame in enumerate(numbered)}
        # Looked up once: finding a column takes longer than adding to it.
        table, stacks = message.frames, message.stacks
        self._depth, self._places = stacks.depth, stacks.frame_index
        self._kind, self._function, self._mapping = table.kind, table.function, table.mapping
        self._build_id, self._offset = table.build_id, table.offset
        self._file, self._line = table.file, table.line

    def stack(self, frames: Iterable[Frame]) -> None:
        """Add a stack, leaf first."""
        self.stack_of([self.frame(frame) for frame in frames])

    def stack_of(self, places: list[int]) -> None:
        """As `stack`, of the places of its frames: who has numbers for frames need not look them up by content."""
        self._depth.append(len(places))
        self._places.extend(places)

    def series(self, labels: Mapping[str, str]) -> None:
        """Add a series by its labels."""
        self._message.series.label_count.append(len(labels))
        for name, value in sorted(labels.items()):
            self._message.series.label_index.extend((self._string(name), self._string(value)))

    def _string(self, text: str) -> int:
        index = self._strings.get(text)
        if index is None:
            index = self._strings[text] = len(self._strings)
            self._message.strings.append(text)
        return index

    def frame(self, frame: Frame) -> int:
        """The place of a frame, which is named now if it was not before."""
        index = self._frames.get(frame)
        if index is None:
            index = self._frames[frame] = len(self._frames)
            self._kind.append(int(frame.kind))  # type: ignore[arg-type]
            self._function.append(self._string(frame.function))
            self._mapping.append(self._string(frame.mapping))
            self._build_id.append(self._string(frame.build_id))
            self._offset.append(frame.offset)
            self._file.append(self._string(frame.file))
            self._line.append(frame.line)
        return index
