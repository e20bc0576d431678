"""What is evaluated: who flies, where and how often.

Notation: S scenarios, B episodes flown at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ...collect.airspace.world_config import WorldConfig
from ...datasets import effort
from ...datasets.config import Config, config
from ...datasets.errors import ConfigurationError
from ...datasets.spec import comma_list
from .shares import Share
from .shares import parse as parse_shares

UNRESOLVED = "none"
"""The teacher that resolves nothing: the DEP needs it flown whatever the contenders."""
MOST_RESAMPLES = 10**6
"""More change no digit that is shown."""
MARGINS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4)
LOOKAHEADS_S = (10.0, 15.0, 20.0, 30.0, 40.0)
FAMILY = (
    UNRESOLVED,
    *(f"mvp:margin={margin:g}:lookahead_s={seconds:g}" for margin in MARGINS for seconds in LOOKAHEADS_S),
)
"""The MVP family, whose front contenders are held against."""


@dataclass(frozen=True)
class Contender:
    """Somebody who flies.

    Attributes:
        name: As given on the command line.
        is_run: Whether it is a trained policy rather than a teacher.
    """

    name: str
    is_run: bool


@config
class EvaluationConfig(Config):
    """What is evaluated. How scenarios are grouped does not depend on the workers."""

    added = ("mix",)

    contenders: tuple[Contender, ...] = Field(description="In the order of the table.")
    world: WorldConfig = Field(
        default_factory=WorldConfig, description="The world, its scenario and number of aircraft included."
    )
    scenarios: int = Field(default=200, ge=1, le=2**31 - 1, description="How many, for each.")
    seed: int = Field(default=1_000_000, ge=0, description="Fixes the scenarios.")
    batch: int = Field(default=64, ge=1, le=2**20, description="Scenarios flown at once.")
    bootstrap: int = Field(default=2000, ge=100, le=MOST_RESAMPLES, description="Resamples.")
    device: str = Field(default="cpu", description="cpu, cuda, cuda:1, ...")
    front: bool = Field(
        default=False,
        description=f"Fly {len(FAMILY) - 1} settings of MVP too, and hold each RUN against the best of them.",
    )
    mix: str = Field(
        default="",
        description="Who flies which share of the aircraft, such as 0.8=self,0.1=mvp,0.1=silent; self is each "
        "contender, silent flies straight and transmits nothing.  [default: contenders fly all]",
    )

    def __post_init__(self) -> None:
        from ...collect import scenarios, simulators  # torch: only where something is flown

        parse_shares(self.mix)
        simulators.check(self.world.simulator)
        there = scenarios.count_of(self.world.scenario)
        if there is not None and self.scenarios > there:
            raise ConfigurationError(
                f"expected at most the {there} scenario(s) that '{self.world.scenario}' holds, got --scenarios "
                f"{self.scenarios}: flying them again would only make the intervals too narrow."
            )
        scenarios.lay_out(self.world, self.seed, 0)  # says at once if the aircraft do not fit

    @property
    def shares(self) -> tuple[Share, ...]:
        """Who flies which share of the aircraft, `self` first; none where contenders fly all."""
        return parse_shares(self.mix)

    @property
    def flown(self) -> tuple[Contender, ...]:
        """The contenders, and those only flown for comparison: no resolution, for the front the MVP family."""
        others = FAMILY if self.front else (UNRESOLVED,)
        unnamed = (Contender(name, False) for name in others if Contender(name, False) not in self.contenders)
        return (*unnamed, *self.contenders)

    def weigh(self, workers: int | None, say: Callable[[str], None], is_split: bool = False) -> None:
        """Refuse what cannot fit into memory, and say what takes very long.

        Args:
            workers: Processes of this machine; None if others fly, of whom nothing is known.
            say: Receives a line for people.
            is_split: Whether rates of rare events are estimated too, one contender after the other on one core.

        Raises:
            ConfigurationError: It cannot be flown on this machine.
        """
        from ...collect.flying.figures import at_once as flown_at_once  # torch: only where something is flown

        world = self.world
        at_once = flown_at_once(min(self.batch, self.scenarios), world.aircraft)
        flying = (
            (workers or 0) * effort.memory_of_flight(at_once, world.aircraft, 0) if self.device == "cpu" else 0.0
        )
        resamples = 2.0 * self.scenarios * self.bootstrap * 8
        rows = effort.rows_of(self.scenarios, world.aircraft, world.flight_steps)
        networks = len(self.flown)
        if world.is_compiled and not self.mix:
            networks = sum(contender.is_run for contender in self.flown)
        rules = len(self.flown) - networks
        flown_s = rows * (networks / effort.FLOWN_BY_NETWORK + rules / effort.FLOWN_BY_RULE)
        effort.weigh(
            f"{self.scenarios:,} scenarios of {world.aircraft} aircraft, {at_once:,} at once, for each of "
            f"{len(self.flown)} that fly, and {self.bootstrap:,} resamples",
            say,
            seconds=flown_s / (workers or math.inf) + (effort.SPLIT * flown_s if is_split else 0.0),
            memory=max(flying, resamples),
            less="fewer --scenarios, --batch or --bootstrap",
        )

    @property
    def short_names(self) -> dict[str, str]:
        """What people read instead of each name: a run's folder without its path, where that is clear."""
        names = [contender.name for contender in self.contenders]
        ends = [Path(each.name).name if each.is_run else each.name for each in self.contenders]
        return {name: end if end and ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}


def name_all(runs: Sequence[str], baselines: str) -> list[Contender]:
    """Return the contenders in the order of the table: baselines first.

    Args:
        runs: Folders or `pretrained:NAME`.
        baselines: Teachers, comma-separated; may be empty.

    Raises:
        ConfigurationError: A name appears twice, or there is none.
    """
    named = comma_list(baselines, str, "teachers", "none,mvp")
    contenders = [Contender(name, False) for name in named] + [Contender(run, True) for run in runs]
    names = [contender.name for contender in contenders]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"'{name}' is given twice. Name each contender once; a folder called like a teacher is ./{name}."
            )
    if not contenders:
        raise ConfigurationError("expected a RUN or a baseline to evaluate, got none. Try --baselines none,mvp.")
    return contenders
