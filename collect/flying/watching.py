"""Watching a flight moment by moment, flown by the same arithmetic as its figures.

Notation: B' episodes of the batch, N aircraft.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.neighbours import Sight, pairs_around, sight_of
from ..airspace.world_config import WorldConfig
from ..scenarios.start import Start, start_of
from .compiled import fly_chunks
from .figures import rules_of_pilot
from .flight import Pilot, fly
from .world import World

_STATE = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")


class Moment(NamedTuple):
    """A step as it is decided.

    Attributes:
        slots: (B',) int64, which of the episodes these are.
        steps: (B',) int64, number of the step in its episode, from 0.
        traffic: (B', N) before the action.
        pairs: (B', N, N) or (B', N, J) of that state.
        action: (B', N, 2) what was flown.
        known: That traffic and its pairs as the pilot knew them; None where it knew them as they are.
    """

    slots: Tensor
    steps: Tensor
    traffic: Traffic
    pairs: Pairs
    action: Tensor
    known: tuple[Traffic, Pairs] | None = None


def watch(
    pilot: Pilot, config: WorldConfig, seed: int, episodes: Sequence[int], device: str | torch.device = "cpu"
) -> Iterator[Moment]:
    """Fly scenarios to their end as `figures.fly_scenarios` does, yielding each moment; arguments as there."""
    rules = rules_of_pilot(pilot, config)
    if rules is None:
        for step in fly(World(config, seed, episodes, device), pilot):
            yield Moment(step.slots, step.steps, step.traffic, step.pairs, step.action, step.known)
        return
    first = 0
    for chunk, flown in fly_chunks(config, rules, seed, episodes):
        for moment in _moments(flown.rows[: flown.row_count], start_of(config, seed, chunk), sight_of(config)):
            yield moment._replace(slots=moment.slots + first)
        first += len(chunk)


def _moments(rows: np.ndarray, start: Start, sight: Sight) -> Iterator[Moment]:
    """Yield the moments of rows of episodes that begin so; in float64, so that conflicts are the kernels' own."""
    rows = rows[np.argsort(rows["step"], kind="stable")]
    ends = np.cumsum(np.bincount(rows["step"])).tolist()
    for number, (first, end) in enumerate(zip([0, *ends], ends)):
        yield _moment(number, rows[first:end], start, sight)


def _moment(number: int, rows: np.ndarray, start: Start, sight: Sight) -> Moment:
    """Return the moment of the rows of a step, its number given."""
    shape = start.entry_steps.shape

    def spread(values: np.ndarray) -> Tensor:
        """Return values of rows as (E, N), 0 where there is none."""
        made = np.zeros(shape, np.float64 if values.dtype == np.float32 else values.dtype)
        made[rows["episode"], rows["aircraft"]] = values
        return torch.from_numpy(made)

    is_flying = spread(np.ones(len(rows), bool))
    hovers = np.isnan(rows["waypoint_east_m"])
    if hovers.any():
        rows = rows.copy()
        for axis in ("east_m", "north_m"):
            rows[f"waypoint_{axis}"][hovers] = rows[axis][hovers]
    is_hovering = spread(hovers) if hovers.any() else None
    traffic = Traffic(**{name: spread(rows[name]) for name in _STATE}, is_flying=is_flying, is_hovering=is_hovering)
    traffic.kind = start.traffic.kind
    if start.traffic.zone_scale is not None:
        traffic.zone_scale = start.traffic.zone_scale.double()
    if start.winds_mps is not None:
        wind = start.winds_mps[:, number].double().unsqueeze(1).expand(*shape, 2)
        traffic.wind_east_mps, traffic.wind_north_mps = wind.unbind(-1)
    action = torch.stack((spread(rows["pilot_turn"]), spread(rows["pilot_speed"])), dim=-1)
    slots = torch.arange(shape[0])
    return Moment(slots, torch.full_like(slots, number), traffic, pairs_around(traffic, sight), action)
