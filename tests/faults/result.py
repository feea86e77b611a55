"""What a run of faults found, in a file and as a table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.verdict import Verdict


@dataclass
class Result:
    """One run on one store. `seconds`: how long the faults of each kind took, one after the other."""

    store: str
    seed: int
    seconds: dict[str, list[float]]
    verdict: Verdict

    @property
    def faults(self) -> int:
        return sum(map(len, self.seconds.values()))

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.rename(path)

    @classmethod
    def read(cls, path: Path) -> "Result":
        values = json.loads(path.read_text())
        return cls(**{**values, "verdict": Verdict(**values["verdict"])})


def table(results: Sequence[Result]) -> str:
    """All results side by side, a column each, and what was wrong below."""
    kinds = list(dict.fromkeys(kind for result in results for kind in result.seconds))
    lines = [["", *(result.store for result in results)]]
    lines += [[kind, *(_times(result.seconds.get(kind, [])) for result in results)] for kind in kinds]
    lines += [["faults", *(str(result.faults) for result in results)]]
    for what in ("offered", "acknowledged", "stored", "dropped"):
        lines.append([f"windows {what}", *(str(getattr(result.verdict, what)) for result in results)])
    for reason in sorted({reason for result in results for reason in result.verdict.reasons}):
        found = (str(result.verdict.reasons.get(reason, 0)) for result in results)
        lines.append([f"  dropped: {reason}", *found])
    lines.append(["  lost with killed agents", *(str(result.verdict.killed) for result in results)])
    lines.append(["rows offered", *(str(result.verdict.rows_offered) for result in results)])
    lines.append(["rows stored", *(str(result.verdict.rows) for result in results)])
    lines.append(["verdict", *("WRONG" if result.verdict.wrong else "each once" for result in results)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    shown = [
        line[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ]
    return "\n".join(
        [*shown, *(f"{result.store}: {each}" for result in results for each in result.verdict.wrong)]
    )


def _times(seconds: Sequence[float]) -> str:
    """Such as "13 × 4.2 s": how many, and how long one took on average."""
    return f"{len(seconds)} × {sum(seconds) / len(seconds):.1f} s" if seconds else "-"
