"""Rollouts: many aircraft of many episodes flown at once, on the tensors the networks learn from.

There is one batch of episodes and no process per environment. Each aircraft is a trajectory of its own, flown
by the same weights. Aircraft end at different times; what has ended costs nothing, because only flying aircraft
are observed, flown and learned from. An episode without flying aircraft is restarted at once.

Notation: T steps, B episodes, N aircraft, L = B N slots, M rows (flying aircraft of all steps), A action numbers.
"""

from collections.abc import Mapping
from dataclasses import fields
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...collect.airspace.fleet import limits_of
from ...collect.airspace.neighbours import complete_for, pairs_around, sight_of
from ...collect.airspace.objective import Change, Costs, aircraft_costs
from ...collect.airspace.reward import reward_named
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.world import StepResult, World
from ...collect.scenarios.start import NOBODY
from ...datasets.traffic.observation import Observation, observe
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.record import LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ...datasets.traffic.state import Traffic
from ...datasets.traffic.view import View
from ..runs.stopwatch import Stopwatch
from ..tensor_file import under
from .critic import Critic, in_parts
from .ppo import Actor, following_values, gae, log_prob

TRAINING_EPISODES = 2**40
"""Training flies the episodes from this number on. Datasets and evaluations number theirs from 0 (a dataset in 31
bits), so whatever the seeds, no layout is seen twice. (Above 2**40, an episode's number and stream cannot be
mistaken for one below it when `scenarios.generator_of` strings them together.)"""

LONGEST_LOS = 0.9
"""So long, without a break, an aircraft may lose separation: in units of R / cruise speed, in which two that meet
head-on cross from edge to edge. In the reference world 10 s."""
LONGEST_STANDING = 1.8
"""So long, in the same units, it may fly at less than `STANDING` of cruise speed: 20 s."""
STANDING = 0.1

_TERMS_EVERY = 8  # steps between two looks at the single terms of the reward, which cost a second computation


class Rollout(NamedTuple):
    """What was flown in T steps.

    Attributes:
        observation: (M, 7), (M, K, F), (M, K), by step, then by slot.
        action: (M, A) the sample.
        mean: (M, A) of the policy that drew it.
        log_prob: (M,) of the sample.
        is_flying: (T, L) bool, True where there is a row.
        reward: (T, L).
        is_terminated: (T, L) bool.
        is_truncated: (T, L) bool, by the time limit or for being stranded.
        final_observation: Of the states in which truncated aircraft stopped, by step, then by slot.
        last_observation: Of the state after the last step.
        is_flying_after: (L,) bool, who flies in that state.
        figures: What happened, for people: rates and mean reward terms.
        state: The rows as they are, for the critic; None where that is `observation`, as aircraft know all.
    """

    observation: Observation
    action: Tensor
    mean: Tensor
    log_prob: Tensor
    is_flying: Tensor
    reward: Tensor
    is_terminated: Tensor
    is_truncated: Tensor
    final_observation: Observation
    last_observation: Observation
    is_flying_after: Tensor
    figures: dict[str, float]
    state: Observation | None = None


class Estimates(NamedTuple):
    """What the critic makes of a rollout, each (M,): values before, advantages, value targets."""

    value: Tensor
    advantage: Tensor
    target: Tensor


def returns(rollout: Rollout, discount: float) -> Tensor:
    """Return the discounted rewards of each row up to the end of the rollout or its trajectory, (M,)."""
    nothing = torch.zeros_like(rollout.reward)
    return gae(rollout.reward, nothing, nothing, _continues(rollout), discount, 1.0)[rollout.is_flying]


def estimate(rollout: Rollout, critic: Critic, discount: float, smoothing: float) -> Estimates:
    """Return values, advantages and value targets of the rows of a rollout."""
    value, final, after = (torch.zeros_like(rollout.reward) for _ in range(3))  # (T, L)
    row_value = in_parts(critic, rollout.observation if rollout.state is None else rollout.state)
    value[rollout.is_flying] = row_value
    final[rollout.is_truncated] = in_parts(critic, rollout.final_observation)
    after[0, rollout.is_flying_after] = in_parts(critic, rollout.last_observation)
    following = following_values(value, after[0], final, rollout.is_terminated, rollout.is_truncated)
    following.masked_fill_(~rollout.is_flying, 0.0)
    advantage = gae(rollout.reward, value, following, _continues(rollout), discount, smoothing)
    row_advantage = advantage[rollout.is_flying]
    return Estimates(row_value, row_advantage, row_advantage + row_value)


def _continues(rollout: Rollout) -> Tensor:
    """Return where the trajectory of a slot continues in the next row, (T, L) bool."""
    return rollout.is_flying & ~(rollout.is_terminated | rollout.is_truncated)


class Stranded:
    """Counts how long each aircraft of a world has got no further, and takes it out of the air.

    Two that stand in each other's way, or fly on within each other's protected zone, would stay until the time
    limit. A handful of them among thousands cost dozens of times what all others do, the same at every step:
    normalised beside them, nothing else that happened is left to learn from, and more and more come to a stop. So
    each costs what some seconds cost, and what the critic expects after them, as if time had run out.

    Args:
        world: Its episodes may be restarted: who flies freely is counted from 0.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.los_s, self.standing_s = torch.zeros((2, *world.traffic.east_m.shape), device=world.device)

    def take_out(self) -> Tensor:
        """Count the step that has just been flown; who has been stuck too long flies no more: returned, (B, N)."""
        world, config = self._world, self._world.config
        traffic = world.traffic
        zone = config.protected_zone_m
        cruise_mps = limits_of(config, traffic).cruise_mps
        is_in_los = world.pairs.has_lost(zone).any(-1) & traffic.is_piloted
        is_standing = (traffic.speed_mps < STANDING * cruise_mps) & traffic.is_piloted
        self.los_s = (self.los_s + config.step_s) * is_in_los
        self.standing_s = (self.standing_s + config.step_s) * is_standing
        unit_s = zone / cruise_mps
        is_stuck = (self.los_s >= LONGEST_LOS * unit_s) | (self.standing_s >= LONGEST_STANDING * unit_s)
        if bool(is_stuck.any()):
            world.traffic = traffic.clone()
            world.traffic.is_flying &= ~is_stuck
            world.look_around()
        return is_stuck

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be saved; `restore` takes it back."""
        return {"stranded.los_s": self.los_s, "stranded.standing_s": self.standing_s}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` returned."""
        self.los_s, self.standing_s = (tensors[f"stranded.{name}"].clone() for name in ("los_s", "standing_s"))


class Crew:
    """The aircraft that fly for training: a world, and which episode comes next.

    Args:
        config: The world.
        seed: Of the run; with the number of an episode it gives the episode's layout.
        episodes: B, flown at once.
        view: What is observed.
        device: Where everything lives.
        spread_steps: The B episodes begin evenly over this many steps, so that a rollout holds beginnings and ends
            of episodes alike; 0 begins all at once. By default about the time to cross the sector.
        first_episode: Number of the first episode.

    Attributes:
        world: The world.
        steps: Steps flown so far.
        next_episode: Number of the episode that is started next.
        stopwatch: Counts the time spent `flying`, `observing` and in `networks`.
    """

    def __init__(
        self,
        config: WorldConfig,
        seed: int,
        episodes: int,
        view: View,
        device: str | torch.device = "cpu",
        spread_steps: int | None = None,
        first_episode: int = TRAINING_EPISODES,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        if spread_steps is None:
            crossing = 1.5 * config.sector_radius_m / (config.cruise_mps * config.step_s)
            spread_steps = min(config.max_steps, ceil(crossing))
        self.view = view
        sight = sight_of(config, view.seen(config.aircraft))
        self.world = World(config, seed, range(first_episode, first_episode + episodes), device, sight)
        self.steps = 0
        self.next_episode = first_episode + episodes
        self._begins = torch.arange(episodes, device=self.world.device) * spread_steps // episodes
        self.world.traffic.is_flying &= (self._begins == 0).unsqueeze(-1)
        self.world.itinerary.entry_steps[self._begins > 0] = NOBODY  # these slots begin when others start in them
        self.world.look_around()
        self.stranded = Stranded(self.world)
        self._reward = reward_named(config.reward)
        self.stopwatch = stopwatch or Stopwatch()

    def fly(self, actor: Actor, horizon: int, generator: torch.Generator) -> Rollout:
        """Fly T = horizon steps with sampled actions.

        Args:
            actor: The policy.
            horizon: T.
            generator: Draws the actions.
        """
        observations, states, finals = (list[Observation]() for _ in range(3))
        draws: list[tuple[Tensor, Tensor, Tensor]] = []
        results: list[tuple[Tensor, StepResult]] = []
        world, figures = self.world, RolloutFigures(self.world)
        with torch.no_grad():
            deviation = actor.log_std.exp()
            for _ in range(horizon):
                before = self.world.traffic
                observation = self._observe(*self.world.perceive(), before.is_piloted)
                if world.perception is not None:
                    states.append(self._observe(before, world.pairs, before.is_piloted))
                with self.stopwatch.measure("networks"):
                    mean = actor(observation)
                    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
                    sample = torch.addcmul(mean, noise, deviation)
                    draws.append((sample, mean, log_prob(sample, mean, actor.log_std)))
                observations.append(observation)
                action = sample.new_zeros((*before.is_piloted.shape, sample.shape[-1]))
                action[before.is_piloted] = sample
                result = self._step(action)
                figures.add(before, result)
                if isinstance(self._reward, Costs) and self.steps % _TERMS_EVERY == 0:
                    change = Change(before, action, world.after, world.pairs, result.outcome, world.corners_m)
                    figures.add_terms(aircraft_costs(world.config, change, self._reward), before.is_piloted)
                is_stranded = self.stranded.take_out()
                figures.add_stranded(is_stranded)
                result = result._replace(truncated=result.truncated | is_stranded)
                results.append((before.is_piloted, result))
                finals.append(self._final(result))
                self.restart()
            after = self.world.traffic
            last = self._observe(after, self.world.pairs, after.is_piloted)
        sample, mean, drawn_log_prob = (torch.cat(parts) for parts in zip(*draws))
        is_flying, reward, is_terminated, is_truncated = (
            torch.stack([part.flatten() for part in parts])  # (T, L)
            for parts in zip(*((flying, r.reward, r.terminated, r.truncated) for flying, r in results))
        )
        return Rollout(
            _concatenate(observations),
            sample,
            mean,
            drawn_log_prob,
            is_flying,
            reward,
            is_terminated,
            is_truncated,
            _concatenate(finals),
            last,
            after.is_piloted.flatten(),
            figures.result(),
            _concatenate(states) if states else None,
        )

    def _observe(self, traffic: Traffic, pairs: Pairs, who: Tensor) -> Observation:
        """Observe from the aircraft marked in `who` (B, N): M rows."""
        with self.stopwatch.measure("observing"):
            index = who.flatten().nonzero().squeeze(-1)
            own = traffic.map(lambda tensor: tensor.flatten().index_select(0, index))
            around = complete_for(pairs, traffic, self.view)
            around = around.map(lambda tensor: tensor.flatten(0, 1).index_select(0, index))
            return observe(own, around, self.view)

    def _step(self, action: Tensor) -> StepResult:
        """Fly one step."""
        with self.stopwatch.measure("flying"):
            self.steps += 1
            return self.world.step(action)

    def _final(self, result: StepResult) -> Observation:
        """Observe from truncated aircraft in the state in which they stopped, all of them still there.

        For the world they are gone, for the critic they are not: only the clock stopped them, or we did.
        """
        episodes = result.truncated.any(-1).nonzero().squeeze(-1)
        traffic = self.world.traffic.map(lambda tensor: tensor[episodes])
        truncated = result.truncated[episodes]
        traffic.is_flying = traffic.is_flying | truncated
        return self._observe(traffic, pairs_around(traffic, self.world.sight), truncated)

    def restart(self) -> None:
        """Start new episodes in slots without flying aircraft, when it is time for one."""
        with self.stopwatch.measure("flying"):
            slots = (self.world.is_over & (self._begins <= self.steps)).nonzero().flatten().tolist()
            if slots:
                self.world.restart(slots, range(self.next_episode, self.next_episode + len(slots)))
                self.next_episode += len(slots)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of the world as tensors, to be saved; `restore` takes it back."""
        world = self.world
        state = {f"world.{name}": tensor for name, tensor in vars(world.traffic).items() if tensor is not None}
        episodes = torch.tensor(world.episodes, dtype=torch.int64)
        state |= {"world.corners_m": world.corners_m, "world.steps": world.steps, "world.episodes": episodes}
        state |= {"world.leg": world.itinerary.leg, "world.entry_steps": world.itinerary.entry_steps}
        if world.perception is not None:
            state |= {f"perception.{name}": tensor for name, tensor in world.perception.tensors().items()}
        return {**state, **self.stranded.tensors()}

    def counters(self) -> dict[str, int]:
        """Return the rest of the state, as JSON."""
        return {"steps": self.steps, "next_episode": self.next_episode}

    def restore(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `counters` returned."""
        traffic = Traffic(
            **{f.name: tensors[f"world.{f.name}"] for f in fields(Traffic) if f"world.{f.name}" in tensors}
        )
        corners_m, steps, episodes = (tensors[f"world.{name}"] for name in ("corners_m", "steps", "episodes"))
        itinerary = (tensors.get("world.leg"), tensors.get("world.entry_steps"))
        self.world.put_back(traffic, corners_m, steps, episodes.tolist(), *itinerary)
        if self.world.perception is not None:
            self.world.perception.restore(under("perception", tensors))
        self.stranded.restore(tensors)
        self.steps, self.next_episode = int(counters["steps"]), int(counters["next_episode"])


class RolloutFigures:
    """Sums of what happens in a rollout, kept on the device.

    Args:
        world: The world that is flown.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums = torch.zeros(6, device=world.device)
        self._terms: dict[str, Tensor] = {}
        self._looked_at = torch.zeros((), device=world.device)
        self._stranded = torch.zeros((), device=world.device)

    def add(self, before: Traffic, result: StepResult) -> None:
        """Add the step that has just been flown: aircraft-steps, reward, pair-steps in LoS, ends of flights."""
        inside = self._lost(self._world.pairs, self._world.traffic).sum() / 2
        ends = [(result.outcome == outcome).sum() for outcome in (WAYPOINT, LEFT_SECTOR, TIME_LIMIT)]
        self._sums += torch.stack([before.is_piloted.sum(), result.reward.sum(), inside, *ends])

    def _lost(self, pairs: Pairs, traffic: Traffic) -> Tensor:
        """Return which pairs are in LoS, (B, N, J) bool, but those of two that hover: that is nobody's doing."""
        lost = pairs.has_lost(self._world.config.protected_zone_m)
        if traffic.is_hovering is None:
            return lost
        number = pairs.number_of(torch.arange(lost.shape[-1], device=lost.device).expand_as(lost))
        hovers = traffic.is_hovering.gather(-1, number.flatten(1)).view_as(number)
        return lost & ~(hovers & traffic.is_hovering.unsqueeze(-1))

    def add_stranded(self, is_stranded: Tensor) -> None:
        """Add those who have just been taken out for being stranded."""
        self._stranded += is_stranded.sum()

    def add_terms(self, terms: dict[str, Tensor], is_flying: Tensor) -> None:
        """Add the terms of the reward in this step."""
        self._looked_at += is_flying.sum()
        for name, term in terms.items():
            self._terms[name] = self._terms.get(name, torch.zeros_like(self._looked_at)) + term.sum()

    def result(self) -> dict[str, float]:
        """Return rates: per agent-step, per flight hour, per ended flight."""
        steps, reward, inside, *ends = self._sums.tolist()
        step_s = self._world.config.step_s
        hours = max(steps, 1.0) * step_s / 3600.0
        ends.append(float(self._stranded))
        ended = max(sum(ends), 1.0)
        figures = {"reward": reward / max(steps, 1.0), "los_s_per_flight_hour": inside * step_s / hours}
        for name, count in zip(("waypoint", "left_sector", "time_limit", "stranded"), ends):
            figures[f"{name}_rate"] = count / ended
        looked_at = max(float(self._looked_at), 1.0)
        return {**figures, **{f"reward_{name}": float(term) / looked_at for name, term in self._terms.items()}}


def _concatenate(parts: list[Observation]) -> Observation:
    """Join observations row by row."""
    return Observation(*(torch.cat(tensors) for tensors in zip(*parts)))
