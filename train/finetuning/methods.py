"""The two methods of fine-tuning: each flies its aircraft, changes its network, and can be saved and taken back.

Both offer the same to the run that drives them (`finetune.Finetuning`): `network`, `modules`, `optimizer`, `crews`,
`generator` and `learn`. They share nothing else.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...collect.airspace.world_config import WorldConfig
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from ..networks import Network, parse
from ..runs.stopwatch import Stopwatch
from . import analytic, ppo
from .config import FinetuneConfig
from .critic import Critic, in_parts
from .rollout import TRAINING_EPISODES, Crew, Rollout, RolloutFigures, estimate, returns

NETWORKS, LEARNING, FLYING = "networks", "learning", "flying"
_EPISODES_EACH = 2**32  # of each crew, so that no two fly the same
KL_ROWS = 512  # rows on which the distance to the parent is measured, at most, where learning does not need it


@dataclass
class TuningProgress:
    """Where a run is, saved with its weights.

    Attributes:
        iteration: Iterations done.
        steps: Agent-steps flown.
        warmup_steps: Those of them from which only the critic learned.
        best_iteration: The iteration whose policy is the best; 0 is the parent.
        is_finished: Whether nothing is left to do.
        elapsed_s: Seconds spent so far, all attempts together.
        seconds: Where they went, by name.
    """

    iteration: int = 0
    steps: int = 0
    warmup_steps: int = 0
    best_iteration: int = 0
    is_finished: bool = False
    elapsed_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def learned(self, rows: int, steps: int) -> float:
        """Return which fraction of the policy's learning is done in the middle of the next `rows` agent-steps."""
        done = (self.steps - self.warmup_steps + 0.5 * rows) / max(steps - self.warmup_steps, 1)
        return min(done, 1.0)


class Learned(NamedTuple):
    """What an iteration came to.

    Attributes:
        rows: Agent-steps flown.
        is_warmup: Whether the policy was left untouched.
        rollout: Figures of the flight.
        learning: Figures of the update; all of them must be finite.
    """

    rows: int
    is_warmup: bool
    rollout: dict[str, float]
    learning: dict[str, float]


class Method(Protocol):
    """What a run needs of a method.

    Attributes:
        network: The policy.
        modules: Everything with weights, by name; saved with the run.
        optimizer: Of all weights.
        crews: The aircraft that fly for training, one crew for each number of aircraft.
        generator: All randomness there is.
    """

    network: Network
    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer
    crews: list[Crew]
    generator: torch.Generator

    def learn(self, progress: TuningProgress) -> Learned:
        """Fly with the crew whose turn it is, and learn from it."""
        ...


def make_method(
    config: FinetuneConfig,
    parent: Network,
    view: View,
    worlds: Sequence[WorldConfig],
    device: torch.device,
    clock: Stopwatch,
) -> "PPOMethod | AnalyticMethod":
    """Return the method a configuration names, at its beginning.

    Args:
        config: What to do.
        parent: Where to start; not changed.
        view: What is observed.
        worlds: Where to fly, in turn.
        device: Where everything lives.
        clock: Counts where the time goes.
    """
    crews = [
        Crew(world, config.seed, config.envs, view, device, None, TRAINING_EPISODES + place * _EPISODES_EACH, clock)
        for place, world in enumerate(worlds)
    ]
    kind = PPOMethod if config.method == "ppo" else AnalyticMethod
    return kind(config, parent, view, crews, device, clock)


def thinned(observation: Observation, action: Tensor) -> tuple[Observation, Tensor]:
    """Return observations (M rows) and actions (M, A) thinned evenly to `KL_ROWS` at most."""
    every = max(1, -(-len(action) // KL_ROWS))
    return Observation(*(tensor[::every] for tensor in observation)), action[::every]


class PPOMethod:
    """Proximal policy optimisation with a critic; see `ppo`.

    Args:
        config: What to do.
        parent: Where to start; not changed.
        view: What is observed.
        crews: Who flies.
        device: Where everything lives.
        clock: Counts where the time goes.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        parent: Network,
        view: View,
        crews: list[Crew],
        device: torch.device,
        clock: Stopwatch,
    ) -> None:
        self.config, self.parent, self.crews, self.clock = config, parent, crews, clock
        self.actor = ppo.Actor(deepcopy(parent), config.log_std).to(device)
        self.network = self.actor.network
        spec = parent.spec
        if config.critic:
            name, parameters = parse(config.critic)
            spec = {"name": name, "parameters": parameters}
        self.critic = Critic(view, spec, config.seed).to(device)
        if not config.critic:
            self.critic.adopt(parent)
        self.modules: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic}
        self.optimizer = ppo.make_optimizer(self.actor, self.critic, config.ppo)
        self.generator = torch.Generator(device).manual_seed(config.seed)

    def learn(self, progress: TuningProgress) -> Learned:
        """Fly a rollout, and update critic and actor with it."""
        config = self.config
        crew = self.crews[progress.iteration % len(self.crews)]
        is_warmup = progress.iteration < config.warmup
        rollout = crew.fly(self.actor, config.horizon, self.generator)
        rows = len(rollout.action)
        if progress.iteration == 0:
            self.critic.calibrate(returns(rollout, config.ppo.discount))
        lr = 0.0 if is_warmup else config.learning_rate(progress.learned(rows, config.steps))
        self.optimizer.param_groups[0]["lr"] = lr
        learning = self._update(rollout, is_warmup, config.anchor_weight(progress.steps / config.steps))
        return Learned(rows, is_warmup, rollout.figures, {**learning, "lr": lr})

    def _update(self, rollout: Rollout, is_warmup: bool, anchor: float) -> dict[str, float]:
        """Change critic and actor; return the figures."""
        config = self.config.ppo
        with self.clock.measure(NETWORKS):
            estimates = estimate(rollout, self.critic, config.discount, config.smoothing)
            parent_mean, kl_to_parent = self._distance_to_parent(rollout, needs_all=anchor > 0 and not is_warmup)
        batch = ppo.UpdateBatch(
            rollout.observation,
            rollout.action,
            rollout.log_prob,
            ppo.normalise(estimates.advantage),
            estimates.target,
            parent_mean,
        )
        with self.clock.measure(LEARNING):
            figures = ppo.update(
                self.actor,
                self.critic,
                self.optimizer,
                batch,
                config,
                self.generator,
                anchor=anchor,
                anchor_log_std=self.config.log_std,
                is_actor_frozen=is_warmup,
            )
        return {
            **figures._asdict(),
            "kl_to_clone": kl_to_parent,
            "entropy": float(ppo.entropy(self.actor.log_std.detach())),
            "std": float(self.actor.log_std.detach().exp().mean()),
            "explained_variance": ppo.explained_variance(estimates.value, estimates.target),
            "mean_value": float(estimates.value.mean()),
            "anchor": anchor,
        }

    def _distance_to_parent(self, rollout: Rollout, needs_all: bool) -> tuple[Tensor | None, float]:
        """Return the parent's means (M, A), if needed, and the mean KL(policy || parent) of the rollout."""
        observation, mean = rollout.observation, rollout.mean
        if not needs_all:
            observation, mean = thinned(observation, mean)
        parent_mean = in_parts(self.parent, observation)
        log_std = self.actor.log_std.detach()
        kl = ppo.kl_divergence(mean, log_std, parent_mean, torch.full_like(log_std, self.config.log_std))
        return parent_mean if needs_all else None, float(kl.mean())


class AnalyticMethod:
    """The gradient of the flight's cost itself; see `analytic`. Arguments as for `PPOMethod`."""

    def __init__(
        self,
        config: FinetuneConfig,
        parent: Network,
        view: View,
        crews: list[Crew],
        device: torch.device,
        clock: Stopwatch,
    ) -> None:
        self.config, self.parent, self.view, self.crews, self.clock = config, parent, view, crews, clock
        self.network = deepcopy(parent)
        self.modules: dict[str, nn.Module] = {"policy": self.network}
        self.optimizer = analytic.make_optimizer(self.network, config.analytic)
        self.generator = torch.Generator(device).manual_seed(config.seed)

    def learn(self, progress: TuningProgress) -> Learned:
        """Fly a window, and change the policy against the gradient of its cost."""
        config = self.config
        crew = self.crews[progress.iteration % len(self.crews)]
        figures = RolloutFigures(crew.world)
        with self.clock.measure(FLYING):
            window = analytic.fly_window(crew.world, self.network, self.view, config.analytic, figures.add)
        crew.steps += config.analytic.window
        crew.restart()
        lr = config.learning_rate(progress.learned(window.rows, config.steps))
        self.optimizer.param_groups[0]["lr"] = lr
        with self.clock.measure(LEARNING):
            norm = analytic.update(self.network, self.optimizer, window, config.analytic)
        with self.clock.measure(NETWORKS):
            observation, action = thinned(window.observation, window.action)
            difference = action - in_parts(self.parent, observation)
        to_parent = float(difference.square().mean().sqrt()) if len(difference) else 0.0
        learning = {
            "cost": float(window.cost.detach()),
            **window.terms,
            "aircraft": float(crew.world.config.aircraft),
            "gradient_norm": norm,
            "distance_to_clone": to_parent,
            "lr": lr,
        }
        return Learned(window.rows, False, figures.result(), learning)
