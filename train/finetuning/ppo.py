"""Proximal policy optimisation: the maths as pure functions, and the update made of them.

Schulman, Wolski, Dhariwal, Radford, Klimov, "Proximal policy optimization algorithms", 2017; advantages
from Schulman, Moritz, Levine, Jordan, Abbeel, "High-dimensional continuous control using generalized
advantage estimation", ICLR 2016.

Notation: T steps, L slots (one aircraft's place in one episode of the batch), M rows (flying aircraft of all
steps), A numbers in an action.
"""

from collections.abc import Iterator
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...datasets.traffic.observation import Observation
from ..networks import Network
from .config import PPOConfig
from .critic import Critic

_HALF_LOG_2_PI = 0.5 * log(2 * pi)


class Actor(nn.Module):
    """A Gaussian policy: the network gives the mean, the standard deviation is the same in every state.

    Args:
        network: The cloned network; the policy's mean is its output, bit for bit.
        log_std: Logarithm of the initial standard deviation, in action units.
    """

    def __init__(self, network: Network, log_std: float) -> None:
        super().__init__()
        self.network = network
        outputs = network.settings.outputs
        self.log_std = nn.Parameter(torch.full((outputs,), float(log_std)))

    def forward(self, observation: Observation) -> Tensor:
        """Return the mean action (M, A), unbounded."""
        mean: Tensor = self.network(observation)
        return mean


def log_prob(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return log N(action; mean, std), summed over the action's numbers: (M,).

    Args:
        action: (M, A), the sample itself, not what the world clips it to.
        mean: (M, A).
        log_std: (A,) or (M, A).
    """
    deviation = (action - mean) * torch.exp(-log_std)
    return (-0.5 * deviation * deviation - log_std - _HALF_LOG_2_PI).sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """Return the entropy of the Gaussian, a scalar: sum of log std + (1 + log 2 pi) / 2."""
    return (log_std + 0.5 + _HALF_LOG_2_PI).sum()


def kl_divergence(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """Return KL(N(mean, std) || N(other mean, other std)), (M,).

    sum over the action's numbers of log(s'/s) + (s^2 + (m - m')^2) / (2 s'^2) - 1/2.
    """
    variance = torch.exp(2 * (log_std - other_log_std))
    deviation = (mean - other_mean) * torch.exp(-other_log_std)
    return (other_log_std - log_std + 0.5 * (variance + deviation * deviation - 1)).sum(-1)


def gae(
    reward: Tensor,
    value: Tensor,
    following: Tensor,
    continues: Tensor,
    discount: float,
    smoothing: float,
) -> Tensor:
    """Return the generalised advantages of trajectories that lie in slots one behind the other, (T, L).

    A_t = delta_t + discount smoothing A_{t+1}, the second term only where the trajectory continues;
    delta_t = r_t + discount V'_t - V_t, where V'_t is the value of the state after step t.

    Args:
        reward: (T, L), 0 where no aircraft flies.
        value: (T, L) V_t, 0 where no aircraft flies.
        following: (T, L) V'_t; see `following_values`.
        continues: (T, L) bool, True where row t + 1 of the slot belongs to the same trajectory.
        discount: gamma.
        smoothing: lambda.
    """
    delta = reward + discount * following - value
    factor = continues.to(delta.dtype) * (discount * smoothing)
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for step in range(len(delta) - 1, -1, -1):
        running = torch.addcmul(delta[step], factor[step], running)
        advantage[step] = running
    return advantage


def following_values(
    value: Tensor, last_value: Tensor, final_value: Tensor, is_terminated: Tensor, is_truncated: Tensor
) -> Tensor:
    """Return the value of the state after each step, (T, L).

    After a termination there is nothing more to expect: 0. A truncation only stops the clock: the value
    of the state in which it did so. Otherwise the value of the next row; for the last row, of the state
    after it.

    Args:
        value: (T, L) of the state before each step.
        last_value: (L,) of the state after the last step, 0 where no aircraft flies.
        final_value: (T, L) of the state after a truncated step, anything elsewhere.
        is_terminated: (T, L) bool.
        is_truncated: (T, L) bool.
    """
    following = torch.cat((value[1:], last_value.unsqueeze(0)))
    return torch.where(is_truncated, final_value, following).masked_fill_(is_terminated, 0.0)


def normalise(advantage: Tensor) -> Tensor:
    """Return the advantages (M,) of all rows with mean 0 and standard deviation 1 (all 0 if they are equal)."""
    centred = advantage - advantage.mean()
    return centred / (centred.square().mean().sqrt() + 1e-8)


def policy_loss(new_log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return the clipped surrogate loss: -mean of min(rho A, clamp(rho, 1 - clip, 1 + clip) A)."""
    ratio = torch.exp(new_log_prob - old_log_prob)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def approximate_kl(new_log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Return the estimate of KL(old || new) from old samples, mean of rho - 1 - log rho (never negative)."""
    log_ratio = new_log_prob - old_log_prob
    return (torch.expm1(log_ratio) - log_ratio).mean()


def clip_fraction(new_log_prob: Tensor, old_log_prob: Tensor, clip: float) -> Tensor:
    """Return the fraction of rows whose ratio has left [1 - clip, 1 + clip]."""
    ratio = torch.exp(new_log_prob - old_log_prob)
    return ((ratio - 1).abs() > clip).to(ratio.dtype).mean()


def explained_variance(value: Tensor, target: Tensor) -> float:
    """Return 1 - Var(target - value) / Var(target): 1 perfect, 0 no better than a constant; NaN-free."""
    variance = float(target.var(correction=0))
    return 1.0 - float((target - value).var(correction=0)) / variance if variance > 0 else 0.0


class UpdateBatch(NamedTuple):
    """What an update learns from, M rows.

    Attributes:
        observation: (M, 7), (M, K, F), (M, K).
        action: (M, A) the sample.
        log_prob: (M,) of the sample under the policy that drew it.
        advantage: (M,) normalised.
        target: (M,) value target: advantage + value, before normalising.
        anchor_mean: (M, A) the parent's mean action, or None where there is no anchor.
    """

    observation: Observation
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    anchor_mean: Tensor | None


class UpdateFigures(NamedTuple):
    """Means over the gradient steps of an update; those of the actor are 0 if it made none."""

    policy_loss: float
    value_loss: float
    kl: float
    clip_fraction: float
    actor_steps: float


def make_optimizer(actor: Actor, critic: Critic, config: PPOConfig) -> torch.optim.Optimizer:
    """Return one Adam for both, so that there is one state to save; a frozen part has no gradient and stays."""
    groups = [
        {"params": list(actor.parameters()), "lr": config.lr},
        {"params": list(critic.parameters()), "lr": config.critic_lr},
    ]
    return torch.optim.Adam(groups, eps=1e-5, fused=True)


def minibatches(rows: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the row numbers of an epoch, shuffled and cut into equal parts of about `size`."""
    order = torch.randperm(rows, generator=generator, device=generator.device)
    yield from order.chunk(max(1, round(rows / size)))


def actor_loss(
    actor: Actor, part: UpdateBatch, anchor: float, anchor_log_std: float, config: PPOConfig
) -> tuple[Tensor, Tensor]:
    """Return the actor's loss on some rows, and the new log-probabilities (M,) of their actions.

    The clipped surrogate, minus the entropy bonus, plus `anchor` times the KL divergence to the clone.
    """
    mean = actor(part.observation)
    new_log_prob = log_prob(part.action, mean, actor.log_std)
    loss = policy_loss(new_log_prob, part.log_prob, part.advantage, config.clip)
    if config.entropy:
        loss = loss - config.entropy * entropy(actor.log_std)
    if anchor and part.anchor_mean is not None:
        other = torch.full_like(actor.log_std, anchor_log_std)
        loss = loss + anchor * kl_divergence(mean, actor.log_std, part.anchor_mean, other).mean()
    return loss, new_log_prob.detach()


def update(
    actor: Actor,
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    batch: UpdateBatch,
    config: PPOConfig,
    generator: torch.Generator,
    *,
    anchor: float = 0.0,
    anchor_log_std: float = 0.0,
    is_actor_frozen: bool = False,
) -> UpdateFigures:
    """Learn from one rollout.

    Args:
        actor: Changed in place, unless it is frozen.
        critic: Changed in place.
        optimizer: Of both, from `make_optimizer`.
        batch: The rows.
        config: How.
        generator: Shuffles.
        anchor: Weight of the KL divergence to the clone.
        anchor_log_std: The clone's log standard deviation.
        is_actor_frozen: Whether only the critic learns.
    """
    sums = torch.zeros(5, dtype=torch.float64, device=batch.action.device)
    steps, is_actor_learning = 0, not is_actor_frozen
    for _ in range(config.epochs):
        for rows in minibatches(len(batch.action), config.minibatch, generator):
            part = take(batch, rows)
            optimizer.zero_grad(set_to_none=True)
            value_loss = critic.loss(part.observation, part.target)
            value_loss.backward()
            nn.utils.clip_grad_norm_(critic.parameters(), config.gradient_norm)
            sums[1] += value_loss.detach()
            if is_actor_learning:
                loss, new = actor_loss(actor, part, anchor, anchor_log_std, config)
                kl = approximate_kl(new, part.log_prob)
                if config.target_kl and float(kl) > config.target_kl:
                    is_actor_learning = False
                else:
                    loss.backward()
                    nn.utils.clip_grad_norm_(actor.parameters(), config.gradient_norm)
                    clipped = clip_fraction(new, part.log_prob, config.clip)
                    sums += torch.stack((loss.detach(), torch.zeros_like(kl), kl, clipped, torch.ones_like(kl)))
            optimizer.step()
            steps += 1
    policy, value, kl_mean, clipped_mean, actor_steps = sums.tolist()
    each = max(actor_steps, 1.0)
    return UpdateFigures(policy / each, value / steps, kl_mean / each, clipped_mean / each, actor_steps)


def take(batch: UpdateBatch, rows: Tensor) -> UpdateBatch:
    """Return some rows of a batch."""
    return UpdateBatch(
        Observation(*(tensor.index_select(0, rows) for tensor in batch.observation)),
        batch.action.index_select(0, rows),
        batch.log_prob.index_select(0, rows),
        batch.advantage.index_select(0, rows),
        batch.target.index_select(0, rows),
        None if batch.anchor_mean is None else batch.anchor_mean.index_select(0, rows),
    )
