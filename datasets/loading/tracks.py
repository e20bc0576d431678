"""Tracks: what aircraft knew of each other in stored traffic, which itself is the truth.

What an ownship knows of an intruder is what that one knew of itself some steps ago. So two things are kept: how
each aircraft knew itself, step after step, and how old each track is. What is heard right at the beginning was sent
before it, so the steps before an aircraft appears come first. Where filters know the others, what each says
is kept instead. A `Perceive` makes this of a table.

Notation: R rows, S states, E estimates (S of them, and those of steps before), N aircraft at the most, M rows of a
batch, as in `snapshots.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetError
from ..files.manifest import Manifest
from ..traffic.pairs import Pairs
from ..traffic.record import Table
from ..traffic.state import Traffic
from .source import Source


class Ageing(NamedTuple):
    """How tracks grow old.

    Attributes:
        step_s: Duration of a step.
        steps: How many steps old a track may be.
        is_extrapolated: Whether it is flown straight on with the velocity heard; else it stays where it was.
        is_filtered: Whether a filter of all that was heard flies it on.
    """

    step_s: float
    steps: int
    is_extrapolated: bool
    is_filtered: bool = False

    @property
    def before(self) -> int:
        """How many steps before an aircraft appears are needed."""
        return 0 if self.is_filtered else self.steps

    @property
    def none(self) -> int:
        """What stands for no track where ages are stored."""
        return self.steps + 1

    @property
    def dtype(self) -> type:
        """In which ages are stored."""
        return np.uint8 if self.none < 2**8 else np.int16


class Known(NamedTuple):
    """What the aircraft of a table of whole episodes knew, of S states.

    Attributes:
        estimates: (E, 4) float32, position and velocity, east and north: as each aircraft knew itself, the steps of
            one on end.
        place: (S,) int64, which of them is a state's own; that of the step before it lies before it.
        age: (S, N) in steps, of the track that each state's aircraft has of those of its snapshot, in their order;
            `Ageing.none` where it has none.
        action: (S, 2) float32, labels that take the place of the stored ones; None to keep these.
        filtered: (S, N, 4) float32, where a filter has those of its snapshot by now: position and velocity, east
            and north. None where there is no filter.
    """

    estimates: np.ndarray
    place: np.ndarray
    age: np.ndarray
    action: np.ndarray | None
    filtered: np.ndarray | None = None


class Perceive(Protocol):
    """Says what the aircraft of a stored flight knew: a function of the table, the manifest and itself."""

    def ageing(self, manifest: Manifest) -> Ageing:
        """Return how tracks grow old in the world of a dataset."""

    def __call__(self, table: Table, manifest: Manifest) -> Known:
        """Return what is known in a table of whole episodes; what others are in it does not matter."""


class PerceivedRows(NamedTuple):
    """Some rows, each with what its aircraft knows, copied out: all that their observations need.

    Attributes:
        relative: (M, 5, N) float32, of the intruders: d east, d north, v east, v north, |d|^2, which is infinite
            where there is no track, and the others 0.
        age_s: (M, N) float32, of the state each track was made of.
        state: (M, 4) float32, position and velocity, east and north, as the row's aircraft knows itself.
        own: (M, 4) float32, the `OWN` of the row.
        in_conflict: (M,) bool, True where the teacher acts on a conflict in the true state.
    """

    relative: Tensor
    age_s: Tensor
    state: Tensor
    own: Tensor
    in_conflict: Tensor

    def to(self, device: torch.device | str) -> "PerceivedRows":
        """Return the same rows on a device."""
        return PerceivedRows(*(column.to(device, non_blocking=True) for column in self))

    def seen(self) -> tuple[Traffic, Pairs]:
        """Return the ownships (M,) and their pairs (M, N), as they know them."""
        east, north, velocity_east, velocity_north = self.state.unbind(-1)
        own = Traffic(
            east,
            north,
            torch.atan2(velocity_east, velocity_north),
            torch.hypot(velocity_east, velocity_north),
            self.own[:, 0],
            self.own[:, 1],
            torch.ones_like(east, dtype=torch.bool),
        )
        east, north, velocity_east, velocity_north, distance2 = self.relative.unbind(1)
        return own, Pairs(east, north, velocity_east, velocity_north, distance2, torch.isfinite(distance2))


@dataclass(frozen=True)
class Tracks:
    """What aircraft know in snapshots.

    Attributes:
        estimates: (E, 4) float32, see `Known`.
        place: (S + N - 1,) int32, which of them is a state's own; the last N - 1 are padding.
        age: (R, N) uint8 or int16, of each row's tracks of the states of its snapshot.
        ageing: How tracks grow old.
        filtered: (R, N, 4) float32, where filters have those of the snapshot; None where there is none.
    """

    estimates: Tensor
    place: Tensor
    age: Tensor
    ageing: Ageing
    filtered: Tensor | None = None

    @property
    def bytes(self) -> int:
        """Size in memory."""
        filtered = 0 if self.filtered is None else self.filtered.nbytes
        return self.estimates.nbytes + self.place.nbytes + self.age.nbytes + filtered

    def to(self, device: torch.device | str) -> "Tracks":
        """Return the same on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("estimates", "place", "age")}
        return replace(self, filtered=None if self.filtered is None else self.filtered.to(device), **moved)

    def pick(self, rows: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return `relative`, `age_s` and `state` of `PerceivedRows`.

        Args:
            rows: (M,).
            first: (M,) int32, the first state of the snapshot each row is in.
            state: (M,) int32, its own state.
        """
        aircraft = self.age.shape[1]
        windows = self.place.as_strided((len(self.place) - aircraft + 1, aircraft), (1, 1))  # (S, N)
        age = self.age.index_select(0, rows).int()  # (M, N)
        is_track = age < self.ageing.none
        place = self.place.index_select(0, state)  # (M,)
        if self.filtered is not None:
            others = self.filtered.index_select(0, rows)
        else:
            heard = torch.where(is_track, windows.index_select(0, first) - age, place.unsqueeze(-1))
            others = self.estimates.index_select(0, heard.view(-1)).view(*age.shape, 4)
        own = self.estimates.index_select(0, place)  # (M, 4)
        age_s = (age * self.ageing.step_s).masked_fill_(~is_track, 0.0)
        relative = torch.empty((len(age), 5, aircraft), device=age.device)
        torch.sub(others.transpose(1, 2), own.unsqueeze(-1), out=relative[:, :4])
        if self.ageing.is_extrapolated:
            relative[:, :2] += age_s.unsqueeze(1) * others.transpose(1, 2)[:, 2:]
        east, north = relative[:, 0], relative[:, 1]
        relative[:, 4] = torch.addcmul(east * east, north, north).masked_fill_(~is_track, torch.inf)
        return relative, age_s, own


class TrackStore:
    """Memory for tracks, reserved at once; what is not used costs nothing.

    Args:
        ageing: How they grow old.
        rows: How many rows it takes.
        states: How many states.
        estimates: How many estimates.
        aircraft: N.
    """

    def __init__(self, ageing: Ageing, rows: int, states: int, estimates: int, aircraft: int) -> None:
        self.ageing = ageing
        self.estimates = torch.from_numpy(np.zeros((estimates, 4), np.float32))
        self.place = torch.from_numpy(np.zeros(states + aircraft - 1, np.int32))
        self.age = torch.from_numpy(np.zeros((rows, aircraft), ageing.dtype))
        shape = (rows, aircraft, 4)
        self.filtered = torch.from_numpy(np.zeros(shape, np.float32)) if ageing.is_filtered else None

    def put(self, known: Known, which: slice | np.ndarray, row: int, state: int, estimate: int) -> int:
        """Write what is known in a table from places on; return the place behind its estimates.

        Args:
            known: Of the whole table.
            which: The states of it that are rows.
            row, state, estimate: Where it begins.
        """
        end = estimate + len(known.estimates)
        self.estimates.numpy()[estimate:end] = known.estimates
        self.place.numpy()[state : state + len(known.place)] = known.place + estimate
        age = known.age[which]
        self.age.numpy()[row : row + len(age), : age.shape[1]] = age
        self.age.numpy()[row : row + len(age), age.shape[1] :] = self.ageing.none
        if self.filtered is not None and known.filtered is not None:
            self.filtered.numpy()[row : row + len(age), : age.shape[1]] = known.filtered[which]
        return end

    def tracks(self, row: int, state: int, estimate: int) -> Tracks:
        """Return what is before some places, sharing the memory."""
        place = self.place[: state + self.age.shape[1] - 1]
        filtered = None if self.filtered is None else self.filtered[:row]
        return Tracks(self.estimates[:estimate], place, self.age[:row], self.ageing, filtered)


def most_estimates(states: int, episodes: int, aircraft: int, ageing: Ageing | None) -> int:
    """Return how many estimates some episodes have at the most; 0 where all is known."""
    return states + episodes * aircraft * ageing.before if ageing else 0


def ageing_of(datasets: Sequence[Source], perceive: Perceive | None) -> Ageing | None:
    """Return how tracks grow old in several datasets; None where all is known.

    Raises:
        DatasetError: Not alike.
    """
    if perceive is None:
        return None
    found = {perceive.ageing(dataset.manifest) for dataset in datasets}
    if len(found) > 1:
        steps = ", ".join(f"{each.step_s:g} s" for each in sorted(found))
        raise DatasetError(
            f"expected datasets of one decision step where aircraft do not know all, got {steps}. Train on each "
            "alone, or with --surveillance perfect."
        )
    return found.pop()
