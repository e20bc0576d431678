"""Flights: what one aircraft saw, did and was paid from its first step to its last, for offline learning.

Rewards are stored; returns, like observations, are a view: computed when a flight is read, for any discount.

Notation: R rows of an episode, T steps of a flight, N aircraft, K intruders seen, F features of each.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..errors import DatasetError
from ..files.piloted import piloted
from ..traffic.observation import flatten
from ..traffic.record import FLYING, TIME_LIMIT, Table
from ..traffic.view import View, scale_of
from .loader import assemble
from .snapshots import Place, Store, aircraft_of
from .source import Source


class FlightRows(NamedTuple):
    """The steps of one flight.

    Attributes:
        episode: Its episode.
        aircraft: Its aircraft.
        observation: (T, 7 + K F + K) float32, the ownship, the intruders, their mask; each before the action.
        action: (T, 2) float32, what was flown, turn and speed change in action units.
        teacher_action: (T, 2) float32, what the teacher would have flown.
        reward: (T,) float32.
        returns: (T,) float32, reward + discount x the next step's return: the sum of what was still to come.
        is_terminated: Whether it ended at its waypoint or outside the sector.
        is_truncated: Whether it ran into the time limit; its returns leave out what would have come.
    """

    episode: int
    aircraft: int
    observation: np.ndarray
    action: np.ndarray
    teacher_action: np.ndarray
    reward: np.ndarray
    returns: np.ndarray
    is_terminated: bool
    is_truncated: bool


def flights(dataset: Source, view: View | str = "seed", discount: float = 0.99) -> Iterator[FlightRows]:
    """Yield the flights of a dataset in order of episode and aircraft; memory holds one shard.

    Args:
        dataset: Where they are. Aircraft that hover have no flights.
        view: What is observed.
        discount: Of later rewards, from 0 to 1.

    Raises:
        DatasetError: The discount cannot be, or a shard is damaged.
    """
    if not 0.0 <= discount <= 1.0:
        raise DatasetError(f"expected a discount from 0 to 1, got {discount}.")
    view = View.parse(view, scale_of(dataset.manifest.world)) if isinstance(view, str) else view
    aircraft = max(aircraft_of(dataset), *(dataset.counts(shard).aircraft for shard in dataset.shards))
    for shard in dataset.shards:
        table = dataset.table(shard)
        edges = np.flatnonzero(np.diff(table["episode"])) + 1
        for start, stop in zip([0, *edges], [*edges, len(table["episode"])], strict=True):
            yield from _flights(
                {name: values[start:stop] for name, values in table.items()}, view, aircraft, discount
            )


def returns_of(reward: np.ndarray, discount: float) -> np.ndarray:
    """Return the returns (T,) float32 of rewards (T,): G_t = r_t + discount G_{t+1}, 0 after the last."""
    from scipy.signal import lfilter  # takes half a second to import: only for those who want returns

    summed = lfilter([1.0], [1.0, -discount], reward[::-1].astype(np.float64))
    return np.asarray(summed)[::-1].astype(np.float32)


def _flights(rows: Table, view: View, aircraft: int, discount: float) -> Iterator[FlightRows]:
    """Yield the flights of one episode."""
    observations = observe_rows(rows, view, aircraft)
    rows = piloted(rows)
    for number in np.unique(rows["aircraft"]).tolist():
        own = rows["aircraft"] == number
        last = int(rows["outcome"][own][-1])
        yield FlightRows(
            int(rows["episode"][0]),
            number,
            observations[own],
            np.stack((rows["pilot_turn"][own], rows["pilot_speed"][own]), axis=1),
            np.stack((rows["teacher_turn"][own], rows["teacher_speed"][own]), axis=1),
            rows["reward"][own],
            returns_of(rows["reward"][own], discount),
            last not in (FLYING, TIME_LIMIT),
            last == TIME_LIMIT,
        )


def observe_rows(rows: Table, view: View, aircraft: int) -> np.ndarray:
    """Return what the aircraft that somebody flies observe, (R, 7 + K F + K) float32, as the loader does.

    Args:
        rows: Whole snapshots, in the order of the record.
        view: What is observed.
        aircraft: N.
    """
    store = Store(len(rows["episode"]), aircraft)
    snapshots = store.snapshots(store.put(rows, Place(0, 0)), aircraft, ())
    picked = snapshots.pick(torch.arange(len(snapshots)))
    found: np.ndarray = flatten(assemble(picked, view).observation).numpy()
    return found
