"""What is evaluated, and who flies besides those that are shown.

Notation: S scenarios, B episodes flown at once.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ...collect import scenarios as layouts
from ...collect import simulators
from ...collect.airspace.world_config import WorldConfig
from ...datasets.errors import ConfigurationError
from .contenders import UNRESOLVED, Contender, Loaded, load
from .mvp_front import FAMILY


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        contenders: In the order of the table.
        world: The world, its scenario and number of aircraft included.
        scenarios: S.
        seed: Seed of the scenarios.
        batch: B; how scenarios are grouped does not depend on the workers.
        bootstrap: Resamples for the intervals.
        device: Where to compute.
        front: Whether to fly the whole MVP family too, and find its front.
    """

    contenders: tuple[Contender, ...]
    world: WorldConfig = field(default_factory=WorldConfig)
    scenarios: int = 200
    seed: int = 1_000_000
    batch: int = 64
    bootstrap: int = 2000
    device: str = "cpu"
    front: bool = False

    def __post_init__(self) -> None:
        for name in ("scenarios", "batch", "bootstrap"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"expected 1 or more for --{name}, got {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigurationError(f"expected a seed from 0 on, got {self.seed}")
        simulators.check(self.world.simulator)
        there = layouts.count_of(self.world.scenario)
        if there is not None and self.scenarios > there:
            raise ConfigurationError(
                f"expected at most the {there} scenario(s) that '{self.world.scenario}' holds, got --scenarios "
                f"{self.scenarios}: flying them again would only make the intervals too narrow."
            )
        layouts.lay_out(self.world, self.seed, 0)  # says at once if the aircraft do not fit

    @property
    def flown(self) -> tuple[Contender, ...]:
        """The contenders, and those only flown for comparison: no resolution, for the front the MVP family."""
        others = FAMILY if self.front else (UNRESOLVED,)
        unnamed = (Contender(name, False) for name in others if Contender(name, False) not in self.contenders)
        return (*unnamed, *self.contenders)

    @property
    def short_names(self) -> dict[str, str]:
        """What people read instead of each name: a run's folder without its path, where that is clear."""
        names = [contender.name for contender in self.contenders]
        ends = [Path(each.name).name if each.is_run else each.name for each in self.contenders]
        return {name: end if end and ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}

    def load(self) -> dict[str, Loaded]:
        """Load every contender, by name.

        Raises:
            SkycloneError: One of them is unknown, missing or damaged.
        """
        return {contender.name: load(contender, self.world, self.device) for contender in self.flown}
