"""Fine-tuning by proximal policy optimisation with a critic, in one process or several; see `ppo`.

Each process flies its part of the episodes with its own noise, and learns from them; the gradients of every step
are added up, so that all hold the same weights. The first of them is the run's own (`team`).
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..networks import parse
from ..runs import gate
from ..runs.gate import GateFlights
from ..runs.processes import Processes
from ..runs.stopwatch import Stopwatch
from . import ppo
from .critic import Critic, in_parts
from .methods import (
    LEARNING,
    NETWORKS,
    Learned,
    Material,
    TuningProgress,
    restore_crews,
    restore_weights,
    saved_crews,
    saved_weights,
    thinned,
)
from .rollout import Rollout, estimate, returns


class PPOMethod:
    """PPO in one of its processes.

    Args:
        material: What to do, and with what.
        clock: Counts where the time goes.
        processes: Those that fly and learn together.
    """

    def __init__(self, material: Material, clock: Stopwatch, processes: Processes | None = None) -> None:
        self.material, self.clock = material, clock
        self.config, self.parent = material.config, material.parent
        self.processes = processes or Processes()
        config, rank = self.config, self.processes.rank
        self.crews = material.crews(clock, rank, self.processes.size)
        self.actor = ppo.Actor(deepcopy(self.parent), config.log_std).to(material.device)
        ppo.keep_within_bounds(self.actor)
        self.network = deepcopy(self.actor.network)
        name, parameters = parse(config.critic)
        self.critic = Critic(material.view, {"name": name, "parameters": parameters}, config.seed).to(
            material.device
        )
        self.modules: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic, "average": self.network}
        self.optimizer = ppo.make_optimizer(self.actor, self.critic, config.ppo)
        seed = int(np.random.SeedSequence([config.seed, rank]).generate_state(1)[0]) if rank else config.seed
        self.generator = torch.Generator(material.device).manual_seed(seed)
        self.update = ppo.Update(
            self.actor, self.critic, self.network, self.optimizer, config.ppo, self.generator, self.processes
        )

    def learn(self, progress: TuningProgress) -> Learned:
        """Fly a rollout, and update critic and actor with it."""
        config = self.config
        crew = self.crews[progress.iteration % len(self.crews)]
        is_warmup = progress.iteration < config.warmup
        rollout = crew.fly(self.actor, config.horizon, self.generator)
        rows = int(self.processes.total(torch.tensor(float(len(rollout.action)), dtype=torch.float64)))
        if progress.iteration == 0:
            self.critic.calibrate(returns(rollout, config.ppo.discount), self.processes)
        lr = 0.0 if is_warmup else config.learning_rate(progress.learned(rows, config.steps))
        self.optimizer.param_groups[0]["lr"] = lr
        learning = self._update(rollout, is_warmup, config.anchor_weight(progress.steps / config.steps))
        return Learned(rows, is_warmup, self._mean(rollout.figures), {**self._mean(learning), "lr": lr})

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
            ppo.normalise(estimates.advantage, config.limit, self.processes),
            estimates.target,
            parent_mean,
            rollout.state,
        )
        with self.clock.measure(LEARNING):
            figures = self.update.learn(
                batch, anchor=anchor, anchor_log_std=self.config.log_std, is_actor_frozen=is_warmup
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

    def _mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the means of figures over the processes, which fly about as much."""
        total = self.processes.total(torch.tensor(list(figures.values()), dtype=torch.float64))
        return dict(zip(figures, (total / self.processes.size).tolist(), strict=True))

    def _distance_to_parent(self, rollout: Rollout, needs_all: bool) -> tuple[Tensor | None, float]:
        """Return the parent's means (M, A), if needed, and the mean KL(policy || parent) of the rollout."""
        observation, mean = rollout.observation, rollout.mean
        if not needs_all:
            observation, mean = thinned(observation, mean)
        parent_mean = in_parts(self.parent, observation).clamp_(-1.0, 1.0)
        log_std = self.actor.log_std.detach()
        kl = ppo.kl_divergence(mean, log_std, parent_mean, torch.full_like(log_std, self.config.log_std))
        return parent_mean if needs_all else None, float(kl.mean())

    def fly_gate(self, is_parent: bool = False) -> GateFlights:
        """Fly the policy, or its parent, through the gate."""
        return gate.join(self.own_gate(is_parent))

    def own_gate(self, is_parent: bool) -> list[GateFlights]:
        """Fly this process's part of the gate's scenarios, in each of the worlds."""
        network = self.parent if is_parent else self.network
        return self.material.fly_gate(network, self.processes.rank, self.processes.size)

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to continue, of this process, as tensors and as JSON."""
        tensors, counters = saved_crews(self.crews, self.generator, self.processes.rank)
        return {**saved_weights(self.modules, self.optimizer), **tensors}, {"crews": [counters]}

    def restore(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Take back what `saved` returned, of all processes."""
        rank = self.processes.rank
        restore_weights(self.modules, self.optimizer, tensors)
        restore_crews(self.crews, self.generator, tensors, description["crews"][rank], rank)

    def close(self) -> None:
        """Nothing was started."""
