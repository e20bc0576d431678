"""The world: B episodes of N aircraft flown at once, in torch, moved by the embedded simulator or another.

No global random state: what an episode looks like is a function of (seed, episode); flying draws nothing.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ...datasets.traffic.state import Traffic
from ..airspace.distances import distance_to_go
from ..airspace.neighbours import Sight, pairs_around, sight_of
from ..airspace.objective import Change
from ..airspace.reward import reward_named
from ..airspace.sector import inner_radius, is_outside
from ..airspace.world_config import WorldConfig
from ..scenarios.registry import surveillance_keys
from ..scenarios.start import Start, start_of
from ..simulators import simulator_of
from ..surveillance.config import parse
from ..surveillance.perception import Perception
from .itinerary import Itinerary


class StepResult(NamedTuple):
    """What a step brought, each (B, N); zero or False for aircraft that did not fly before it.

    Attributes:
        reward: float32.
        outcome: int8, see `datasets.record.OUTCOMES`.
        terminated: bool, reached the waypoint or left the sector.
        truncated: bool, ran into the time limit.
    """

    reward: Tensor
    outcome: Tensor
    terminated: Tensor
    truncated: Tensor


class World:
    """A batch of episodes.

    Args:
        config: Its parameters.
        seed: Seed of the run.
        episodes: Number of each episode in the batch; B is their count.
        device: Where the tensors live.
        sight: What pairs must be good for; by default what the world itself needs.
        start: How they begin; by default as seed and episodes say.

    Attributes:
        traffic: (B, N) the present state; ended aircraft, and those yet to enter, do not fly.
        pairs: (B, N, N) pairs of the present state, or (B, N, J); see `airspace.neighbours`.
        simulator: What moves the aircraft.
        after: The present state right after the last step, until the next: with the waypoints that aircraft flew to
            in it.
        itinerary: Who enters when, by which waypoints, and where nobody should fly.
        steps: (B,) int64, steps flown in each episode.
        episodes: The number of each episode.
        perception: What aircraft know, where they do not know all; None under perfect surveillance.

    Raises:
        ConfigurationError: Unknown scenario, reward or simulator, or aircraft that do not fit into the sector.
    """

    def __init__(
        self,
        config: WorldConfig,
        seed: int,
        episodes: Sequence[int],
        device: str | torch.device = "cpu",
        sight: Sight | None = None,
        start: Start | None = None,
    ) -> None:
        self.config = config
        self.sight = sight_of(config) if sight is None else sight
        self.seed = seed
        self.device = torch.device(device)
        self._reward = reward_named(config.reward)
        self.episodes = list(episodes)
        start = self._start(self.episodes) if start is None else start
        self.traffic = self.after = start.traffic.map(self._here)
        self.corners_m = self._here(start.corners_m)  # (B, C, 2)
        self.itinerary = Itinerary.of(start, self.device)
        self._winds_mps = None if start.winds_mps is None else self._here(start.winds_mps)
        self._inner_m = inner_radius(self.corners_m)  # (B,)
        self.steps = torch.zeros(len(self.episodes), dtype=torch.int64, device=self.device)
        self._feel_wind()
        self.look_around()
        quality = parse(config.surveillance)
        self.perception = (
            None
            if quality is None
            else Perception(quality, config.step_s, self.traffic, surveillance_keys(seed, self.episodes))
        )
        self.simulator = simulator_of(config)
        self.simulator.lay_out(self.traffic)

    def _start(self, episodes: Sequence[int], corners: int = 0) -> Start:
        """Return how some episodes begin, their sectors with at least so many corners."""
        return start_of(self.config, self.seed, episodes, corners)

    def _here(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the world's device."""
        return tensor.to(self.device)

    def _wind_at(self, steps: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the wind towards east and north after so many steps (B,), each (B, N); None if there is none."""
        if self._winds_mps is None:
            return None
        at = steps.clamp_max(self._winds_mps.shape[1] - 1)
        wind = self._winds_mps[torch.arange(len(at), device=self.device), at]  # (B, 2)
        east, north = wind.unsqueeze(1).expand(-1, self.config.aircraft, -1).unbind(-1)
        return east, north

    def _blow(self, slots: Tensor, start: Start) -> None:
        """Give some slots the wind of other episodes; in some of them, or before, there may be none."""
        shape = (self.config.max_steps + 1, 2)
        if self._winds_mps is None:
            self._winds_mps = torch.zeros((len(self.episodes), *shape), device=self.device)
        none = torch.zeros((len(slots), *shape), device=self.device)
        self._winds_mps[slots] = none if start.winds_mps is None else self._here(start.winds_mps)

    def _feel_wind(self) -> None:
        """Give the traffic the wind of its steps."""
        wind = self._wind_at(self.steps)
        if wind is not None:
            self.traffic.wind_east_mps, self.traffic.wind_north_mps = wind

    @property
    def wind(self) -> tuple[Tensor, Tensor] | None:
        """The wind after the last step, towards east and north, (B, N) m/s each; None if there is none."""
        return self._wind_at(self.steps)

    def look_around(self) -> None:
        """Make the pairs those of the traffic; needed after a change of it from outside."""
        self.pairs = pairs_around(self.traffic, self.sight)

    def perceive(self, traffic: Traffic | None = None, pairs: Pairs | None = None) -> tuple[Traffic, Pairs]:
        """Return what the aircraft know of the present state: each of itself, and of the others.

        Args:
            traffic: That state, where others fly in it than do: those that have just ended.
            pairs: Its pairs.
        """
        traffic, pairs = traffic or self.traffic, pairs or self.pairs
        return (traffic, pairs) if self.perception is None else self.perception.perceive(traffic)[:2]

    @property
    def is_over(self) -> Tensor:
        """(B,) bool, True where nobody is flown any more, and nobody is yet to enter."""
        is_over = ~self.traffic.is_piloted.any(-1)
        if self.itinerary.last_entry:
            is_over &= ~self.itinerary.is_waiting(self.steps, self.config.max_steps).any(-1)
        return is_over

    def held(self, action: Tensor) -> Tensor:
        """Return the action (B, N, 2) with that of hovering aircraft: they come to a stop, and stay."""
        traffic = self.traffic
        if traffic.is_hovering is None:
            return action
        brake = (-traffic.speed_mps / self.config.speed_change_mps).clamp(-1.0, 1.0)
        stay = torch.stack((torch.zeros_like(brake), brake), dim=-1)
        return torch.where(traffic.is_hovering.unsqueeze(-1), stay.to(action.dtype), action)

    def step(self, action: Tensor) -> StepResult:
        """Fly one decision step.

        Args:
            action: (B, N, 2) turn and speed change in action units; clipped to [-1, 1].
        """
        before, action = self.traffic, self.held(action)
        self.steps = self.steps + 1
        after = self.simulator.advance(before, action, self.wind)
        outcome, has_passed = self._outcome(before, after)
        flies_on = before.is_flying & (outcome == FLYING)
        config = self.config
        after.is_flying = self.itinerary.enter(
            after, flies_on, self.steps, config.max_steps, config.start_separation_m
        )
        self.traffic = self.after = after
        self.look_around()
        change = Change(before, action, after, self.pairs, outcome, self.corners_m)
        reward = self._reward(config, change)
        self.traffic = self.itinerary.go_on(after, has_passed)
        if self.itinerary.last_entry:
            self.simulator.enter(self.traffic, after.is_flying & ~flies_on)
        if self.perception is not None:
            self.perception.record(self.traffic, self.steps)
        is_truncated = outcome == TIME_LIMIT
        return StepResult(reward, outcome, (outcome != FLYING) & ~is_truncated, is_truncated)

    def _outcome(self, before: Traffic, after: Traffic) -> tuple[Tensor, Tensor | None]:
        """Return what became of each aircraft, and who flies on from a waypoint to its next.

        Returns:
            (B, N) int8, the last waypoint before left_sector before time_limit; (B, N) bool, or None for nobody.
        """
        config = self.config
        outcome = torch.zeros_like(after.is_flying, dtype=torch.int8)
        outcome.masked_fill_((self.steps >= config.max_steps).unsqueeze(-1), TIME_LIMIT)
        has_left = is_outside(after, self.corners_m, self._inner_m, config.outside_m)
        outcome.masked_fill_(has_left, LEFT_SECTOR)
        is_there, has_passed = distance_to_go(after) <= config.waypoint_radius_m, None
        if self.itinerary.has_routes:
            has_passed = is_there & self.itinerary.has_more() & before.is_piloted & (outcome == FLYING)
            is_there = is_there & ~self.itinerary.has_more()
        outcome.masked_fill_(is_there, WAYPOINT).masked_fill_(~before.is_piloted, FLYING)
        return outcome, has_passed

    def restart(self, slots: Sequence[int], episodes: Sequence[int]) -> None:
        """Lay out new episodes in some slots of the batch; the others go on undisturbed."""
        if not len(slots):
            return
        start = self._start(episodes, corners=self.corners_m.shape[1])
        traffic, corners = start.traffic, start.corners_m
        index = torch.tensor(list(slots), device=self.device)
        if corners.shape[1] > self.corners_m.shape[1]:
            missing = corners.shape[1] - self.corners_m.shape[1]
            last = self.corners_m[:, -1:].expand(-1, missing, -1)
            self.corners_m = torch.cat((self.corners_m, last), dim=1)
        self.corners_m[index] = self._here(corners)
        self._inner_m = inner_radius(self.corners_m)
        self.itinerary.restart(index, Itinerary.of(start, self.device))
        if start.winds_mps is not None or self._winds_mps is not None:
            self._blow(index, start)
        fresh = self.traffic.clone()
        if (fresh.is_hovering is None) != (traffic.is_hovering is None):
            for each in (fresh, traffic):
                each.is_hovering = (
                    torch.zeros_like(each.is_flying) if each.is_hovering is None else each.is_hovering
                )
        for name, tensor in vars(traffic).items():
            if tensor is not None:
                getattr(fresh, name)[index] = self._here(tensor)
        self.traffic = fresh
        self.steps = self.steps.index_fill(0, index, 0)
        self._feel_wind()
        for slot, episode in zip(slots, episodes, strict=True):
            self.episodes[slot] = episode
        self.look_around()
        if self.perception is not None:
            begun = self.traffic.of(index)
            self.perception.restart(
                index.cpu().numpy(), surveillance_keys(self.seed, episodes), begun, np.zeros(len(slots), np.int64)
            )
        self.simulator.restart(index, traffic)

    def put_back(
        self,
        traffic: Traffic,
        corners_m: Tensor,
        steps: Tensor,
        episodes: Sequence[int],
        leg: Tensor | None = None,
        entry_steps: Tensor | None = None,
    ) -> None:
        """Take back a state that was saved, on any device.

        Args:
            traffic: As the attribute, like the next three.
            corners_m: See above.
            steps: See above.
            episodes: See above.
            leg: The itinerary's; None for that of a beginning.
            entry_steps: The itinerary's; who has to wait moves them on.
        """
        self.traffic, self.corners_m, self.steps = traffic.map(self._here), self._here(corners_m), self._here(steps)
        self.after = self.traffic
        self._inner_m, self.episodes = inner_radius(self.corners_m), list(episodes)
        start = self._start(episodes)
        self.itinerary = Itinerary.of(start, self.device)
        self._winds_mps = None if start.winds_mps is None else self._here(start.winds_mps)
        if leg is not None:
            self.itinerary.leg = self._here(leg)
        if entry_steps is not None:
            self.itinerary.entry_steps = self._here(entry_steps)
            self.itinerary.last_entry = int(entry_steps.max())
        self.look_around()
        if self.perception is not None:
            keys, numbers = surveillance_keys(self.seed, episodes), self.steps.cpu().numpy()
            self.perception.restart(np.arange(len(keys)), keys, self.traffic, numbers)

    def keep(self, slots: Tensor) -> None:
        """Keep only some episodes of the batch, so that finished ones cost nothing.

        Args:
            slots: (B',) int64, the slots to keep, in order.
        """
        self.traffic = self.traffic.map(lambda tensor: tensor[slots])
        self.pairs = self.pairs.map(lambda tensor: tensor[slots])
        self.corners_m, self._inner_m = self.corners_m[slots], self._inner_m[slots]
        self.steps = self.steps[slots]
        self.itinerary.keep(slots)
        self._winds_mps = None if self._winds_mps is None else self._winds_mps[slots]
        self.episodes = [self.episodes[slot] for slot in slots.tolist()]
        if self.perception is not None:
            self.perception.keep(slots.cpu().numpy())
        self.simulator.keep(slots)

    def taken(self, slots: Tensor) -> "World":
        """Return some episodes as they are now, by their slots (B',), as a world beside this one.

        One that is there twice goes on twice, by the same random numbers; see `Perception.keys`.
        """
        other = copy(self)
        other.itinerary, other.perception = copy(self.itinerary), copy(self.perception)
        other.keep(slots)
        return other

    @staticmethod
    def joined(worlds: Sequence["World"]) -> "World":
        """Return the episodes of several worlds, all `taken` from one, as one world, in order."""
        made = copy(worlds[0])
        rows = [vars(world.traffic) for world in worlds]
        columns: dict[str, Any] = {name: _joined([row[name] for row in rows]) for name in rows[0]}
        made.traffic = made.after = Traffic(**columns)
        for name in ("corners_m", "_inner_m", "_winds_mps", "steps"):
            setattr(made, name, _joined([getattr(world, name) for world in worlds]))
        made.itinerary = Itinerary.joined([world.itinerary for world in worlds])
        made.episodes = [episode for world in worlds for episode in world.episodes]
        heard = [world.perception for world in worlds if world.perception is not None]
        made.perception = Perception.joined(heard) if heard else None
        made.look_around()
        return made


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return tensors as one; None where there are none."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None
