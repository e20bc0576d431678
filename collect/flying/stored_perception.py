"""Stored perception: what the aircraft of a stored flight knew, found by flying it again through its states.

A dataset holds the truth. Who has a track of whom depends on all steps before, so whole episodes are taken through
the same `Perception` that worlds have, with the keys their own world had, before they were selected or merged: of a
dataset that was collected under a surveillance, the same one finds what its pilots knew.

Notation: S states, B episodes, N aircraft.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.config import shown
from ...datasets.errors import ConfigurationError, DatasetError
from ...datasets.files.manifest import Manifest
from ...datasets.loading.tracks import Ageing, Known
from ...datasets.provenance import origins_of
from ...datasets.traffic.record import PERCEIVED, Table
from ...datasets.traffic.state import Traffic
from ..airspace.fleet import zone_scales_of
from ..airspace.world_config import WorldConfig
from ..scenarios.registry import recorded_world, surveillance_keys
from ..surveillance.config import Surveillance, parse
from ..surveillance.perception import Perceived, Perception
from ..teachers.registry import Teacher
from ..teachers.registry import parse as parse_teacher
from .flight import advise

_STATES = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")


@dataclass(frozen=True)
class StoredPerception:
    """Says what the aircraft of a dataset knew; see `datasets.loading.tracks.Perceive`.

    Attributes:
        surveillance: Such as `remote-id`; not perfect.
        labels: `truth` (the stored ones), or `perceived`: what the teacher does about what aircraft know.
    """

    surveillance: str
    labels: str = PERCEIVED

    @property
    def quality(self) -> Surveillance:
        """The surveillance in numbers."""
        quality = parse(self.surveillance)
        if quality is None:
            raise ConfigurationError(
                f"expected a surveillance that is not perfect, got {shown(self.surveillance)}."
            )
        return quality

    def ageing(self, manifest: Manifest) -> Ageing:
        """Return how tracks grow old in the world of a dataset.

        Raises:
            ConfigurationError: The manifest names no world that can be flown in, or steps do not fit.
        """
        step_s, between = _world_of(manifest).step_s, self.quality.between
        steps = self.quality.track_steps(step_s)
        return Ageing(step_s, steps, between == "extrapolate", between == "filter")

    @torch.inference_mode()
    def __call__(self, table: Table, manifest: Manifest) -> Known:
        """Return what is known in a table of whole episodes.

        Raises:
            ConfigurationError: The manifest names no such world or teacher, or it has too many aircraft.
            DatasetError: An aircraft has a number the world has not, or lacks in a step between others.
        """
        world, ageing = _world_of(manifest), self.ageing(manifest)
        rows = _laid_out(table, world.aircraft, ageing.before)
        states = (len(rows.place), world.aircraft)
        known = Known(
            np.zeros((rows.estimates, 4), np.float32),
            rows.place,
            np.full(states, ageing.none, ageing.dtype),
            np.zeros((states[0], 2), np.float32) if self.labels == PERCEIVED else None,
            np.zeros((*states, 4), np.float32) if ageing.is_filtered else None,
        )
        teacher = _teacher_of(manifest, world) if self.labels == PERCEIVED else None
        for here, slot, perception, perceived in _steps(
            table, rows, world, _keys(rows.episodes, manifest), self.quality
        ):
            at = (slot, table["aircraft"][here])
            known.estimates[rows.place[here]] = perceived.itself.numpy()[at]
            new = rows.is_first[here]
            for lag in range(1, ageing.before + 1) if new.any() else ():
                before = perception.estimates[(perception.place - lag) % perception.kept]
                known.estimates[rows.place[here[new]] - lag] = before[at][new]
            known.age[here] = _ages(perception, perceived, ageing.none)[at]
            if known.filtered is not None:
                known.filtered[here] = _filtered(perceived)[at]
            if known.action is not None and teacher is not None:
                said = advise(teacher, world, perceived.traffic, perceived.pairs)
                known.action[here] = said.action.numpy()[at]
        return known


class _Rows(NamedTuple):
    """Where the rows of a table belong.

    Attributes:
        episodes: (B,) their numbers, rising.
        slot: (S,) which of them a row is of.
        is_first: (S,) bool, the first of its aircraft.
        place: (S,) int64, its estimate.
        estimates: How many there are.
    """

    episodes: np.ndarray
    slot: np.ndarray
    is_first: np.ndarray
    place: np.ndarray
    estimates: int


def _world_of(manifest: Manifest) -> WorldConfig:
    """Return the world of a dataset."""
    return recorded_world(dict(manifest.world), "the dataset's manifest")


def _teacher_of(manifest: Manifest, world: WorldConfig) -> Teacher:
    """Return the teacher of a dataset, to be asked again."""
    try:
        return parse_teacher(manifest.teacher, world)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error} So it cannot be asked what to do about what aircraft know. "
            "Use --labels truth: it takes what is stored."
        ) from None


def _laid_out(table: Table, aircraft: int, before: int) -> _Rows:
    """Find the place of each row: the steps of an aircraft on end, so many steps of before it appears first."""
    if len(table["aircraft"]) and int(table["aircraft"].max()) >= aircraft:
        raise DatasetError(
            f"expected aircraft below {aircraft}, as its world has, got {int(table['aircraft'].max())}. "
            "Collect the dataset again."
        )
    episodes, slot = np.unique(table["episode"], return_inverse=True)
    whose = slot * aircraft + table["aircraft"]
    flown = np.bincount(whose, minlength=len(episodes) * aircraft)  # steps of each
    begin = np.cumsum(np.where(flown, flown + before, 0)) - flown  # where its first one is
    order = np.argsort(whose, kind="stable")  # of each the steps are rising
    number = np.arange(len(whose)) - (np.cumsum(flown) - flown)[whose[order]]  # of the steps of each, from 0
    first = np.zeros(len(flown), np.int64)
    first[whose[order[number == 0]]] = table["step"][order[number == 0]]
    since = table["step"] - first[whose]
    if not np.array_equal(since[order], number):
        raise DatasetError(
            "expected each aircraft in all steps from its first to its last, got some that lack: what is known of "
            "it cannot be found. Use --surveillance perfect."
        )
    estimates = int(flown.sum() + before * np.count_nonzero(flown))
    return _Rows(episodes, slot, since == 0, begin[whose] + since, estimates)


_Step = tuple[np.ndarray, np.ndarray, Perception, Perceived]


def _keys(episodes: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Return the keys of what aircraft heard in some episodes (B,) as they were flown, (B, 2) int64."""
    origins = origins_of(episodes.tolist(), manifest.seed, manifest.parts)
    keys = [surveillance_keys(seed, [number])[0] for seed, number in origins]
    return np.array(keys, np.int64).reshape(len(keys), 2)


def _steps(
    table: Table, rows: _Rows, world: WorldConfig, keys: np.ndarray, quality: Surveillance
) -> Iterator[_Step]:
    """Yield, step by step, which rows are of it, their places in the batch, and what is known."""
    order = np.argsort(table["step"], kind="stable")
    steps = int(table["step"].max()) + 1 if len(order) else 0
    ends = np.searchsorted(table["step"][order], np.arange(steps + 1))
    last = np.zeros(len(rows.episodes), np.int64)
    np.maximum.at(last, rows.slot, table["step"])
    kept, slots, perception = np.arange(len(last)), np.arange(len(last)), None
    for step in range(steps):
        over = int((last[kept] < step).sum())
        if perception is not None and over > len(kept) // 8:  # as in flight: not for each single one
            going_on = np.flatnonzero(last[kept] >= step)
            perception.keep(going_on)
            kept = kept[going_on]
            slots[kept] = np.arange(len(kept))
        here = order[ends[step] : ends[step + 1]]
        slot = slots[rows.slot[here]]
        traffic = _traffic(table, here, slot, len(kept), world)
        if perception is None:
            perception = Perception(quality, world.step_s, traffic, keys)
        else:
            perception.record(traffic, torch.full((len(kept),), step))
        yield here, slot, perception, perception.perceive(traffic)


def _traffic(table: Table, here: np.ndarray, slot: np.ndarray, episodes: int, world: WorldConfig) -> Traffic:
    """Return the traffic (B, N) of the rows of a step."""
    at = (slot, table["aircraft"][here])

    def spread(name: str) -> Tensor:
        made = np.zeros((episodes, world.aircraft), table[name].dtype)
        made[at] = table[name][here]
        return torch.from_numpy(made)

    is_flying = np.zeros((episodes, world.aircraft), bool)
    is_flying[at] = True
    traffic = Traffic(**{name: spread(name) for name in _STATES}, is_flying=torch.from_numpy(is_flying))
    is_hovering = torch.isnan(traffic.waypoint_east_m)
    if is_hovering.any():
        traffic.is_hovering = is_hovering
    if "kind" in table:
        traffic.kind = spread("kind").long()
        scales = zone_scales_of(world)
        if any(scale != 1.0 for scale in scales):
            traffic.zone_scale = torch.tensor(scales, dtype=torch.float32)[traffic.kind]
    if "wind_east_mps" in table:
        traffic.wind_east_mps, traffic.wind_north_mps = spread("wind_east_mps"), spread("wind_north_mps")
    return traffic


def _ages(perception: Perception, perceived: Perceived, none: int) -> np.ndarray:
    """Return the age in steps of each track (B, N, N), of those who fly in the order of their numbers."""
    age = perception.steps[:, None, None] - perception.heard
    age = np.where(perceived.pairs.is_pair.numpy(), age, none)
    return _in_order(age, perceived)


def _filtered(perceived: Perceived) -> np.ndarray:
    """Return where each ownship takes the others to be (B, N, N, 4), in the same order."""
    relative = torch.stack(perceived.pairs[:4], dim=-1)
    return _in_order((perceived.itself.unsqueeze(2) + relative).numpy(), perceived)


def _in_order(links: np.ndarray, perceived: Perceived) -> np.ndarray:
    """Put what is known of others (B, N, N, ...) in the order of the numbers of those who fly."""
    is_flying = perceived.traffic.is_flying.numpy()
    if is_flying.all():
        return links
    order = np.argsort(~is_flying, axis=-1, kind="stable")[:, None, :]  # (B, 1, N)
    return np.take_along_axis(links, order.reshape(*order.shape, *(1,) * (links.ndim - 3)), axis=2)
