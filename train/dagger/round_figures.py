"""The figures of one round of DAgger, as an entry of the run's log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RoundFigures:
    """The figures of one round.

    Attributes:
        record: As they stand in `metrics.jsonl`, with the number of the round as `round`.
    """

    record: dict[str, Any]

    @property
    def step(self) -> int:
        """Its place on a tracker's axis: the round."""
        return int(self.record["round"])

    def to_json(self) -> dict[str, Any]:
        """Return its line."""
        return self.record

    def scalars(self) -> dict[str, float]:
        """Return a tracker's names and values: each number, as `visited/mse_conflict`."""
        return {name: value for name, value in _numbers(self.record) if name != "round"}


def _numbers(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a JSON object and of those inside it."""
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{key}/")
        elif isinstance(value, int | float):
            yield f"{before}{key}", float(value)
