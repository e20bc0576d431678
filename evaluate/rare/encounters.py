"""The problem itself: traffic and gusts are random, a contender flies, and the score is the smallest distance.

Notation: n samples, T steps at most, N aircraft.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.special import ndtri

from ...collect.airspace.fleet import zone_scales_of
from ...collect.airspace.world_config import EMBEDDED, WorldConfig
from ...collect.flying.figures import at_once, fly_start, join
from ...collect.flying.flight import Pilot
from ...collect.scenarios.registry import is_file, lay_out_by
from ...collect.scenarios.start import Start, stack
from ...collect.scenarios.wind import kept_of, with_gusts
from ...collect.surveillance.config import PERFECT
from ...datasets.errors import ConfigurationError
from .splitting import Outcome, moved
from .tape import Tape

FIRST = 20
"""Times as many flights in the first stage: it then takes about as long as the others together."""
_SIDE_BY_SIDE = 256  # episodes
_GUSTS = "gusts"


def check(world: WorldConfig) -> None:
    """Check that rare events can be counted in a world.

    Raises:
        ConfigurationError: They cannot.
    """
    if world.simulator != EMBEDDED:
        raise ConfigurationError(f"--rare: expected --simulator {EMBEDDED}, got {world.simulator}. Leave it out.")
    if is_file(world.scenario) and not world.gust_mps and world.surveillance == PERFECT:
        raise ConfigurationError(
            f"--rare: expected something random, got '{world.scenario}' without gusts, whose flights are all the "
            "same. Try a generated scenario, --world m600:gust_mps=2, or --surveillance ads-b"
        )
    if any(scale != 1.0 for scale in zone_scales_of(world)):
        raise ConfigurationError(
            f"--rare: expected one protected zone for all, got the fleet '{world.fleet}': the smallest distance "
            "does not say then whether separation was lost. Leave protected_zone_m out of the fleet."
        )


def targets_of(world: WorldConfig) -> tuple[float, ...]:
    """Return the distances below which events happen: loss of separation, near mid-air collision."""
    return tuple(sorted({world.protected_zone_m, min(world.nmac_m, world.protected_zone_m)}, reverse=True))


@dataclass
class Encounters:
    """Flights of one contender as a `splitting.Problem`; a sample is a `Tape`.

    Attributes:
        pilot: Who flies.
        world: The world.
        device: Where to compute.
        first: How many times n samples the first stage has.
    """

    pilot: Pilot
    world: WorldConfig
    device: str = "cpu"
    first: int = FIRST

    def draw(self, count: int, generator: np.random.Generator) -> list[Tape]:
        """Return independent samples."""
        return [Tape(generator) for _ in range(count)]

    def move(self, samples: list[Tape], generator: np.random.Generator) -> list[Tape]:
        """Return a proposal for each."""
        return [tape.moved(generator) for tape in samples]

    def clones(
        self,
        samples: list[Tape],
        outcome: Outcome,
        parents: np.ndarray,
        levels: tuple[float, float],
        generator: np.random.Generator,
    ) -> tuple[list[Tape], Outcome, float]:
        """Return flights near the parents, what they come to, and the work."""
        return moved(self, [samples[parent] for parent in parents], outcome.taken(parents), levels[0], generator)

    def fly(self, samples: list[Tape], level: float = -inf) -> Outcome:
        """Fly samples: score is the smallest distance of any pair in m, exposure hours, work aircraft-steps."""
        size = min(_SIDE_BY_SIDE, at_once(len(samples), self.world.aircraft))
        chunks = [samples[first : first + size] for first in range(0, len(samples), size)]
        figures = join(
            [fly_start(self.pilot, self.world, start_of(chunk, self.world), self.device) for chunk in chunks]
        )
        counts = np.stack((figures.los_events, figures.nmac_events))[: len(targets_of(self.world))]
        return Outcome(figures.least_m, counts, figures.flight_s / 3600.0, figures.steps)


def start_of(tapes: list[Tape], world: WorldConfig) -> Start:
    """Return how the episodes of some tapes begin, their gusts included."""
    layouts = [lay_out_by(world, tape.stream) for tape in tapes]
    return stack(layouts, world, winds_mps=with_gusts(world, layouts, gusts_of(tapes, world)))


def gusts_of(tapes: list[Tape], world: WorldConfig) -> np.ndarray | None:
    """Return the gusts of some tapes, (n, T + 1, 2), of standard deviation 1; None where there are none."""
    if not world.gust_mps:
        return None
    uniform = np.stack([tape.read((_GUSTS, (world.max_steps + 1, 2), 0)) for tape in tapes])
    normal, kept = ndtri(np.clip(uniform, 2.0**-60, 1.0 - 2.0**-53)), kept_of(world)
    made = np.empty_like(normal)
    made[:, 0] = normal[:, 0]
    for step in range(1, normal.shape[1]):
        made[:, step] = kept * made[:, step - 1] + np.sqrt(1.0 - kept * kept) * normal[:, step]
    return made
