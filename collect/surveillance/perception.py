"""Perception: what each aircraft knows of itself and of the others, beside the truth.

Each aircraft knows its own position and velocity with a navigation error, and broadcasts that estimate. What
ownship i knows of intruder j is the newest estimate of j's that has reached it. All of it is a function of the
states so far, the episode's key, the step, i and j.

Notation: B episodes, N aircraft, H steps kept.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..arithmetic.links import NEVER, listen, next_errors, senders, tracks
from .config import Surveillance
from .outages import Outages
from .tracker import Tracker

MOST = 1000
"""Up to this many aircraft: each link is kept."""
_UNFILTERED = np.zeros((0, 0, 0, 2, 4))
_COLUMNS, _RINGS = ("keys", "phases", "steps", "heard", "was_flying"), ("kept_keys", "drawn", "estimates")
_KEPT_IN_FILES = ("drawn", "estimates", "heard", "steps", "was_flying")


class Perceived(NamedTuple):
    """What aircraft know.

    Attributes:
        traffic: (B, N) as each knows itself.
        pairs: (B, N, N) as each ownship knows the others; whom it has no track of is no pair.
        age_s: (B, N, N) float32, of the newest state that each track was made of.
        itself: (B, N, 4) float32, position and velocity, east and north, as each knows itself.
    """

    traffic: Traffic
    pairs: Pairs
    age_s: Tensor
    itself: Tensor


class Perception:
    """What the aircraft of a batch of episodes know, step by step.

    Args:
        surveillance: Its quality.
        step_s: Duration of a step.
        traffic: (B, N) at the start. As far as messages tell, everyone has flown straight until it appears.
        keys: (B, 2) int64, of each episode's random numbers.

    Attributes:
        keys: See above. Other ones after some step give other errors and messages from the next one on.
        outages: Who is without GNSS; None where nobody ever is.
        tracker: The filters by which aircraft know themselves and others; None where they take what is told.
        last: What `perceive` returned last; None before.

    Raises:
        ConfigurationError: Too many aircraft, or steps to be kept.
    """

    def __init__(self, surveillance: Surveillance, step_s: float, traffic: Traffic, keys: np.ndarray) -> None:
        episodes, aircraft = traffic.east_m.shape
        if aircraft > MOST:
            raise ConfigurationError(
                f"expected at most {MOST} aircraft with a surveillance that is not perfect, got {aircraft}: every "
                "link from one to another is kept. Ask for fewer aircraft, or use --surveillance perfect."
            )
        self.surveillance, self.step_s = surveillance, step_s
        self.kept = surveillance.track_steps(step_s) + 1  # H
        self.place = 0
        self.keys = keys
        self.kept_keys = np.zeros((self.kept, episodes, 2), np.int64)  # by which each step's messages are drawn
        self.phases = np.zeros((episodes, aircraft))
        self.steps = np.zeros(episodes, np.int64)
        self.drawn = np.zeros((self.kept, episodes, aircraft, 4))  # of standard deviation 1
        self.estimates = np.zeros((self.kept, episodes, aircraft, 4), np.float32)
        self.heard = np.full((episodes, aircraft, aircraft), NEVER, np.int64)
        self.was_flying = np.zeros((episodes, aircraft), bool)
        self.outages = Outages(surveillance, step_s, (episodes, aircraft)) if surveillance.outages_per_h else None
        is_filtered = surveillance.between == "filter"
        shape = (episodes, aircraft)
        self.tracker = Tracker(surveillance, step_s, self._correlation, shape) if is_filtered else None
        self.last: Perceived | None = None
        self._has_listened = False  # in this step
        everywhere = np.arange(episodes)
        self.restart(everywhere, keys, traffic, np.zeros(episodes, np.int64))

    @property
    def _scale(self) -> np.ndarray:
        """Return the standard deviations of the errors, (4,)."""
        return np.repeat((self.surveillance.position_m, self.surveillance.velocity_mps), 2)

    @property
    def _correlation(self) -> float:
        """Return the correlation of errors from one step to the next: exp(-dt / tau) to the third order."""
        twice_s = 2.0 * self.surveillance.error_s
        return max(twice_s - self.step_s, 0.0) / (twice_s + self.step_s)

    def _parts(self) -> dict[str, Outages | Tracker]:
        """Return what else has a state, by its attribute."""
        return {name: part for name in ("outages", "tracker") if (part := getattr(self, name)) is not None}

    def restart(self, slots: np.ndarray, keys: np.ndarray, traffic: Traffic, steps: np.ndarray) -> None:
        """Begin other episodes in some slots.

        Args:
            slots: (S,) int64.
            keys: (S, 2) int64.
            traffic: (S, N) their present state.
            steps: (S,) int64, their present step.
        """
        quality, state = self.surveillance, _state_of(traffic)
        self.keys = self.keys.copy()
        self.keys[slots], self.steps[slots] = keys, steps
        self.kept_keys[:, slots] = keys
        drawn = senders(keys, state.shape[1])
        self.phases[slots] = np.where(drawn[..., 1] < quality.silent, -1.0, drawn[..., 0])
        errors = np.zeros((*state.shape[:2], 4))
        for lag in reversed(range(self.kept)):
            is_first = lag == self.kept - 1
            errors = next_errors(keys, steps - lag, errors, 0.0 if is_first else self._correlation)
            at = (self.place - lag) % self.kept
            self.drawn[at, slots] = errors
            self.estimates[at, slots] = self._before(state, lag) + self._scale * errors
        for part in self._parts().values():
            part.restart(slots, self._scale * errors)
        self.heard[slots], self._has_listened = NEVER, False
        self.was_flying[slots] = traffic.is_flying.cpu().numpy()

    def record(self, traffic: Traffic, steps: Tensor) -> None:
        """Take the state (B, N) after another step of all episodes, and the number of their steps (B,)."""
        if self.tracker is not None and not self._has_listened:
            self._listen(self.was_flying)  # a filter misses no message, whether one looks or not
        self._has_listened = False
        before, self.place = self.drawn[self.place], (self.place + 1) % self.kept
        self.steps = steps.cpu().numpy().copy()
        state, is_flying = _state_of(traffic), traffic.is_flying.cpu().numpy()
        self.kept_keys[self.place] = self.keys
        self.drawn[self.place] = next_errors(self.keys, self.steps, before, self._correlation)
        errors = with_gnss = self._scale * self.drawn[self.place]
        if self.outages is not None:
            errors = self.outages.advance(self.keys, self.steps, is_flying & self.was_flying, errors)
        if self.tracker is not None:
            has_gnss = np.ones_like(is_flying) if self.outages is None else ~self.outages.is_lost
            self.tracker.advance(self.keys, self.steps, has_gnss, with_gnss)
        self.estimates[self.place] = state + errors
        has_entered = is_flying & ~self.was_flying
        if has_entered.any():
            for lag in range(1, self.kept):
                at = (self.place - lag) % self.kept
                past = self._before(state, lag) + self._scale * self.drawn[at]
                self.estimates[at] = np.where(has_entered[..., None], past, self.estimates[at])
            self.heard[has_entered] = NEVER
            self.heard.transpose(0, 2, 1)[has_entered] = NEVER
            if self.tracker is not None:
                self.tracker.begin(has_entered, with_gnss)
        self.was_flying = is_flying.copy()

    def _before(self, state: np.ndarray, lag: int) -> np.ndarray:
        """Return where aircraft in a state were so many steps ago, had they flown straight."""
        past = state.copy()
        past[..., :2] -= lag * self.step_s * state[..., 2:]
        return past

    def _listen(self, is_flying: np.ndarray) -> None:
        """Find the newest message on each link, now that these (B, N) fly."""
        quality, step_s = self.surveillance, self.step_s
        per_step = step_s / quality.interval_s if quality.interval_s > step_s * (1 + 1e-9) else 0.0
        listen(
            self.heard,
            self.kept_keys,
            self.steps,
            is_flying,
            self.phases,
            self.estimates,
            self.place,
            per_step,
            quality.latency_s / step_s,
            quality.latency_spread_s / step_s,
            float(quality.reception),
            float(quality.range_m),
        )
        if self.tracker is not None:
            self.tracker.listen(self.heard, self.steps, self.estimates, self.place)
        self._has_listened = True

    def _known(self, traffic: Traffic) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return where each one takes itself to be, (B, N, 4) float32, and what `tracks` returns of the others."""
        is_flying = traffic.is_flying.cpu().numpy()
        self._listen(is_flying)
        own, filtered = self.estimates[self.place].astype(np.float64), _UNFILTERED
        if self.tracker is not None:
            own, filtered = self.tracker.itself(_state_of(traffic)), self.tracker.tracks
        ahead_s = float(0.0 if self.surveillance.between == "hold" else self.step_s)
        found = tracks(self.heard, self.steps, is_flying, own, self.estimates, self.place, filtered, ahead_s)
        return own.astype(np.float32), found

    def perceive(self, traffic: Traffic) -> Perceived:
        """Return what is known in the present state.

        Args:
            traffic: (B, N) of the last `record`; fewer may fly.
        """
        itself, (made, is_track, age) = self._known(traffic)
        device = traffic.east_m.device
        own = torch.from_numpy(itself).to(device)
        east, north, velocity_east, velocity_north = own.unbind(-1)
        known = replace(
            traffic,
            east_m=east,
            north_m=north,
            track_rad=torch.atan2(velocity_east, velocity_north),
            speed_mps=torch.hypot(velocity_east, velocity_north),
        )
        scale = None
        if traffic.zone_scale is not None:
            scale = torch.maximum(traffic.zone_scale.unsqueeze(-2), traffic.zone_scale.unsqueeze(-1))
        east, north, velocity_east, velocity_north, distance2 = torch.from_numpy(made).to(device).unbind(0)
        pairs = Pairs(
            east,
            north,
            velocity_east,
            velocity_north,
            distance2,
            torch.from_numpy(is_track).to(device),
            None,
            scale,
        )
        age_s = torch.from_numpy((age * self.step_s).astype(np.float32)).to(device)
        self.last = Perceived(known, pairs, age_s, own)
        return self.last

    def mute(self, is_silent: np.ndarray) -> None:
        """Have some aircraft (B, N) broadcast nothing from now on."""
        self.phases = np.where(is_silent, -1.0, self.phases)

    def keep(self, slots: np.ndarray) -> None:
        """Keep only some episodes, by their slots; one that is there twice goes on twice."""
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[slots])
        for name in _RINGS:
            setattr(self, name, getattr(self, name)[:, slots])
        for name, part in self._parts().items():
            setattr(self, name, part.kept(slots))

    @staticmethod
    def joined(parts: Sequence["Perception"]) -> "Perception":
        """Return the episodes of several as one."""
        made = copy(parts[0])
        for name in _COLUMNS:
            setattr(made, name, np.concatenate([getattr(part, name) for part in parts]))
        for name in _RINGS:
            turned = [np.roll(getattr(part, name), -part.place, axis=0) for part in parts]
            setattr(made, name, np.concatenate(turned, axis=1))
        made.place, made.last, made._has_listened = 0, None, False
        for name, one in made._parts().items():
            setattr(made, name, type(one).joined([getattr(part, name) for part in parts]))
        return made

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be saved; `restore` takes it back."""
        state = {name: torch.from_numpy(getattr(self, name).copy()) for name in _KEPT_IN_FILES}
        for part in self._parts().values():
            state |= part.tensors()
        return {**state, "place": torch.tensor(self.place)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` returned, for the same episodes."""
        for name in _KEPT_IN_FILES:
            setattr(self, name, tensors[name].cpu().numpy().copy())
        self.place, self._has_listened = int(tensors["place"]), False
        for part in self._parts().values():
            part.restore(tensors)


def _state_of(traffic: Traffic) -> np.ndarray:
    """Return position and velocity, east and north, (B, N, 4) float64."""
    columns = (traffic.east_m, traffic.north_m, traffic.velocity_east_mps, traffic.velocity_north_mps)
    return torch.stack([column.detach().double() for column in columns], dim=-1).cpu().numpy()
