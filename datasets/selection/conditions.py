"""Which episodes are chosen: by their numbers, and by conditions on what happened in them.

Notation: E episodes of a shard, R rows.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import shown
from ..dataset import Dataset
from ..errors import ConfigurationError, DatasetError
from ..files.piloted import is_piloted
from ..numbers import numbers_of
from ..traffic.record import OUTCOMES, Table

FACTS = {
    "rows": "rows of flown aircraft",
    "steps": "steps until the last aircraft has ended",
    "aircraft": "aircraft, those that hover included",
    "conflicts": "rows in which the teacher acts on a conflict",
    "los": "rows with the nearest aircraft inside the world's protected zone",
    "nearest_m": "smallest distance between two aircraft, m; inf where there is only one",
    "reward": "sum of the rewards",
    "waypoint": "aircraft that reached their last waypoint",
    "left_sector": "aircraft that left the sector",
    "time_limit": "aircraft that ran into the time limit",
}
"""What a condition can be on: figures of one episode."""
ENDS = OUTCOMES[1:]
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|!=|==|>|<|=)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """A condition on a fact, such as `los > 0`.

    Attributes:
        fact: One of `FACTS`.
        sign: How it is compared.
        value: With what.
    """

    fact: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read `los > 0`.

        Raises:
            ConfigurationError: It is no condition; says what there is.
        """
        match = _CONDITION.fullmatch(text)
        try:
            if match and match[1] in FACTS:
                return cls(match[1], match[2], float(match[3]))
        except ValueError:
            pass
        raise ConfigurationError(
            f"expected a condition FACT SIGN NUMBER, such as 'los > 0', got {shown(text)}. "
            f"Facts: {', '.join(FACTS)}. Signs: {', '.join(_OPERATORS)}."
        )

    def holds(self, facts: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return where it holds, (E,) bool."""
        held: np.ndarray = _OPERATORS[self.sign](facts[self.fact], self.value)
        return held

    def __str__(self) -> str:
        return f"{self.fact} {self.sign} {self.value:g}"


@dataclass(frozen=True)
class Selection:
    """Which episodes are wanted: those with these numbers in which all conditions hold.

    Attributes:
        episodes: Numbers such as `0-99,120`; "" for all.
        conditions: All have to hold.
    """

    episodes: str = ""
    conditions: Sequence[Condition] = ()

    def __str__(self) -> str:
        chosen = [f"--episodes {self.episodes}"] if self.episodes else []
        return " ".join([*chosen, *(f"--where '{each}'" for each in self.conditions)])

    def numbers(self, dataset: Dataset, progress: Callable[[int], None] = lambda episodes: None) -> np.ndarray:
        """Return the numbers of the episodes of a dataset, (n,) ascending; rows are read only for conditions.

        Args:
            dataset: A complete one.
            progress: Gets the number of episodes that were looked at.

        Raises:
            DatasetError: A number is too large, a shard is damaged, or no episode is chosen.
        """
        every = dataset.episodes
        numbers = numbers_of(self.episodes, every) if self.episodes else np.arange(every)
        if not self.conditions:
            return numbers
        chosen, found = [], []
        for shard in dataset.shards:
            episodes = dataset.manifest.shard_episodes(shard)
            here = numbers[(numbers >= episodes.start) & (numbers < episodes.stop)]
            if len(here):
                facts = facts_of(dataset.table(shard), episodes, dataset.manifest.world)
                facts = {name: values[here - episodes.start] for name, values in facts.items()}
                chosen.append(here[np.all([each.holds(facts) for each in self.conditions], axis=0)])
                found.append(facts)
            progress(len(episodes))
        picked = np.concatenate(chosen)
        if not len(picked):
            raise DatasetError(f"{dataset.path}: no episode of {len(numbers):,} is chosen: {self._ranges(found)}.")
        return picked

    def _ranges(self, found: Sequence[Mapping[str, np.ndarray]]) -> str:
        """Return what the facts of the conditions are in the episodes there are."""
        words = []
        for each in self.conditions:
            values = np.concatenate([facts[each.fact] for facts in found])
            words.append(
                f"expected {each}, got {each.fact} from {values.min():g} to {values.max():g} "
                f"(it holds in {int(each.holds({each.fact: values}).sum()):,})"
            )
        return "; ".join(words)


def facts_of(table: Table, episodes: range, world: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the facts of each episode, (E,) each.

    Args:
        table: R rows of just these episodes.
        episodes: E numbers, rising by one.
        world: The world's parameters.

    Raises:
        DatasetError: The world does not say how large its protected zone is.
    """
    zone_m = world.get("protected_zone_m")
    if not isinstance(zone_m, int | float):
        raise DatasetError(f"expected protected_zone_m among the world's parameters, got {shown(zone_m)}.")
    place, flown, outcome = table["episode"] - episodes.start, is_piloted(table), table["outcome"]
    starts = np.searchsorted(table["episode"], np.arange(episodes.start, episodes.stop))

    def count(rows: np.ndarray) -> np.ndarray:
        return np.bincount(place[rows], minlength=len(episodes))

    nearest_m = np.fmin.reduceat(table["nearest_m"].astype(np.float64), starts)
    seen = np.unique(place.astype(np.int64) << 16 | table["aircraft"])
    return {
        "rows": count(flown),
        "steps": np.maximum.reduceat(table["step"].astype(np.int64), starts) + 1,
        "aircraft": np.bincount(seen >> 16, minlength=len(episodes)),
        "conflicts": count(flown & (table["conflicts"] > 0)),
        "los": count(flown & (table["nearest_m"] < zone_m)),
        "nearest_m": np.where(np.isnan(nearest_m), np.inf, nearest_m),
        "reward": np.bincount(place, table["reward"].astype(np.float64), len(episodes)),
        **{name: count(outcome == number) for number, name in enumerate(OUTCOMES) if number},
    }
