"""Proximal policy optimisation: the maths as pure functions, and the update made of them.

Schulman, Wolski, Dhariwal, Radford, Klimov, "Proximal policy optimization algorithms", 2017; advantages
from Schulman, Moritz, Levine, Jordan, Abbeel, "High-dimensional continuous control using generalized
advantage estimation", ICLR 2016.

Notation: T steps, L slots (one aircraft's place in one episode of the batch), M rows (flying aircraft of all
steps), A numbers in an action.
"""

from collections.abc import Iterator
from math import inf, isinf, log, nan, pi
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...datasets.traffic.observation import Observation
from ..networks import Network
from ..policy import limit
from ..runs.optimizers import adam
from ..runs.processes import Processes
from .config import PPOConfig
from .critic import Critic

STD = (0.01, 0.2)
"""Bounds of the noise, in action units: with more a policy learns to avoid its own, with less it tries nothing."""

_HALF_LOG_2_PI = 0.5 * log(2 * pi)
_LEAST_CHANCE = 0.1  # of being learned from, beside |advantage|: no row is left out for good


class Actor(nn.Module):
    """A Gaussian policy: the network gives the mean, the standard deviation is the same in every state.

    Its mean is what would be flown: the network's output within [-1, 1], bit for bit. Beyond, all samples are flown
    alike, and nothing could be learned from them; so a policy that brakes for somebody would stand still for ever.

    Args:
        network: The cloned network.
        log_std: Logarithm of the initial standard deviation, in action units.
    """

    def __init__(self, network: Network, log_std: float) -> None:
        super().__init__()
        self.network = network
        outputs = network.settings.outputs
        self.log_std = nn.Parameter(torch.full((outputs,), float(log_std)))

    def forward(self, observation: Observation) -> Tensor:
        """Return the mean action (M, A), within [-1, 1]."""
        return limit(self.network(observation))


def keep_within_bounds(actor: Actor) -> None:
    """Keep the noise of a policy within `STD`."""
    with torch.no_grad():
        actor.log_std.clamp_(*(log(bound) for bound in STD))


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


def normalise(advantage: Tensor, limit: float = inf, processes: Processes | None = None) -> Tensor:
    """Return the advantages (M,) of all rows with mean 0 and standard deviation 1 (all 0 if they are equal).

    Args:
        advantage: Of the rows of this process.
        limit: None counts as more than so many standard deviations, and they are normalised once more: what a few
            aircraft in one place cost would otherwise be all that is learned from.
        processes: Those whose rows are normalised together; by default it is alone.
    """
    processes = processes or Processes()
    rows = processes.total(advantage.new_tensor(float(len(advantage))))

    def normal(values: Tensor) -> Tensor:
        centred = values - processes.total(values.sum()) / rows
        return centred / ((processes.total(centred.square().sum()) / rows).sqrt() + 1e-8)

    once = normal(advantage)
    return once if isinf(limit) else normal(once.clamp(-limit, limit))


def policy_losses(new_log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return the clipped surrogate loss of each row: -min(rho A, clamp(rho, 1 - clip, 1 + clip) A), (M,)."""
    ratio = torch.exp(new_log_prob - old_log_prob)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def approximate_kls(new_log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Return what old samples say about KL(old || new), (M,): rho - 1 - log rho, never negative; its mean is it."""
    log_ratio = new_log_prob - old_log_prob
    return torch.expm1(log_ratio) - log_ratio


def is_clipped(new_log_prob: Tensor, old_log_prob: Tensor, clip: float) -> Tensor:
    """Return whether a row's ratio has left [1 - clip, 1 + clip], (M,) as numbers."""
    ratio = torch.exp(new_log_prob - old_log_prob)
    return ((ratio - 1).abs() > clip).to(ratio.dtype)


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
        state: What the critic sees, where that is not `observation`.
    """

    observation: Observation
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    anchor_mean: Tensor | None
    state: Observation | None = None


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
    return adam(groups, eps=1e-5)


def chances(advantage: Tensor, share: float) -> Tensor:
    """Return the chance of each row (M,) to be learned from, `share` of them on average.

    It grows with |advantage| (normalised), as the gradient of a row does: most rows are of free flight and say next
    to nothing. What is learned from is divided by its chance, so the gradient stays what it is with all rows.
    """
    chance = advantage.abs() + _LEAST_CHANCE
    for _ in range(8):  # what is above 1 is given to the others
        chance = (chance * (share * len(chance) / chance.sum())).clamp_max(1.0)
    return chance


def minibatches(chance: Tensor | None, rows: int, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the row numbers of an epoch, shuffled and cut into `count` parts, which may be empty.

    Args:
        chance: (M,) of each row, or None: all.
        rows: M.
        count: How many parts.
        generator: Draws and shuffles.
    """
    order = torch.randperm(rows, generator=generator, device=generator.device)
    if chance is not None:
        drawn = torch.rand(rows, generator=generator, device=generator.device)
        order = order[(drawn < chance)[order]]
    yield from order.tensor_split(count)


def actor_loss(
    actor: Actor, part: UpdateBatch, weight: Tensor, anchor: float, anchor_log_std: float, config: PPOConfig
) -> tuple[Tensor, Tensor]:
    """Return the actor's loss on some rows, and the new log-probabilities (M,) of their actions.

    The clipped surrogate, minus the entropy bonus, plus `anchor` times the KL divergence to the clone; the sum over
    rows, times their weights (M,).
    """
    mean = actor(part.observation)
    new_log_prob = log_prob(part.action, mean, actor.log_std)
    loss = policy_losses(new_log_prob, part.log_prob, part.advantage, config.clip)
    if config.entropy:
        loss = loss - config.entropy * entropy(actor.log_std)
    if anchor and part.anchor_mean is not None:
        other = torch.full_like(actor.log_std, anchor_log_std)
        loss = loss + anchor * kl_divergence(mean, actor.log_std, part.anchor_mean, other)
    return (loss * weight).sum(), new_log_prob.detach()


class Update:
    """Learns from rollouts, one after the other, in all processes alike.

    Args:
        actor: Changed in place.
        critic: Changed in place.
        average: The mean of the actor's weights over its last gradient steps, changed in place.
        optimizer: Of both, from `make_optimizer`.
        config: How.
        generator: Draws and shuffles.
        processes: Those that learn together.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        average: Network,
        optimizer: torch.optim.Optimizer,
        config: PPOConfig,
        generator: torch.Generator,
        processes: Processes,
    ) -> None:
        self.actor, self.critic, self.average, self.optimizer = actor, critic, average, optimizer
        self.config, self.generator, self.processes = config, generator, processes

    def learn(
        self, batch: UpdateBatch, *, anchor: float = 0.0, anchor_log_std: float = 0.0, is_actor_frozen: bool = False
    ) -> UpdateFigures:
        """Learn from one rollout.

        Args:
            batch: This process's rows.
            anchor: Weight of the KL divergence to the clone.
            anchor_log_std: The clone's log standard deviation.
            is_actor_frozen: Whether only the critic learns.
        """
        config, device = self.config, batch.action.device
        if not bool(torch.isfinite(batch.advantage).all()):  # then in all processes: they are normalised together
            return UpdateFigures(nan, nan, nan, nan, 0.0)
        sums = torch.zeros(4, dtype=torch.float64, device=device)
        own = len(batch.action)
        rows = int(self.processes.total(torch.tensor(float(own), dtype=torch.float64, device=device)))
        count = max(1, round(rows * config.share / config.minibatch))
        chance = None if config.share >= 1 else chances(batch.advantage, config.share)
        steps, actor_steps, is_actor_learning = 0, 0, not is_actor_frozen
        for _ in range(config.epochs):
            for chosen in minibatches(chance, own, count, self.generator):
                weight = batch.advantage.new_full((len(chosen),), count / rows)
                if chance is not None:
                    weight = weight / chance.index_select(0, chosen)
                figures = self._gradient(take(batch, chosen), weight, anchor, anchor_log_std, is_actor_learning)
                steps += 1
                if is_actor_learning and config.target_kl and float(figures[2]) > config.target_kl:
                    is_actor_learning = False
                    for parameter in self.actor.parameters():
                        parameter.grad = None
                for part in (self.actor, self.critic):
                    nn.utils.clip_grad_norm_(part.parameters(), config.gradient_norm)
                self.optimizer.step()
                sums[1] += figures[1]
                if is_actor_learning:
                    sums[0] += figures[0]
                    sums[2:] += figures[2:]
                    actor_steps += 1
                    self._after_step()
        policy, value, kl, clipped = sums.tolist()
        each = max(actor_steps, 1)
        return UpdateFigures(policy / each, value / steps, kl / each, clipped / each, actor_steps)

    def _gradient(
        self, part: UpdateBatch, weight: Tensor, anchor: float, anchor_log_std: float, is_actor_learning: bool
    ) -> Tensor:
        """Set the gradients, sums over all processes; return policy and value loss, KL and clip fraction, (4,)."""
        self.optimizer.zero_grad(set_to_none=True)
        if not len(weight):  # every process takes part
            part, weight = _stand_in(part), weight.new_zeros(1)
        value_loss = (self.critic.losses(part.state or part.observation, part.target) * weight).sum()
        loss, figures = value_loss, [value_loss.new_zeros(()), value_loss.detach()]
        if is_actor_learning:
            surrogate, new = actor_loss(self.actor, part, weight, anchor, anchor_log_std, self.config)
            loss = value_loss + surrogate
            kl = (approximate_kls(new, part.log_prob) * weight).sum()
            clipped = (is_clipped(new, part.log_prob, self.config.clip) * weight).sum()
            figures = [surrogate.detach(), value_loss.detach(), kl, clipped]
        loss.backward()
        found = torch.stack([*figures, *[value_loss.new_zeros(())] * (4 - len(figures))])
        return self.processes.total_gradient([*self.actor.parameters(), *self.critic.parameters()], found)

    @torch.no_grad()
    def _after_step(self) -> None:
        """Keep the noise within its bounds, and let the average follow."""
        keep_within_bounds(self.actor)
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.actor.network.parameters()), 1.0 - self.config.average
        )


def take(batch: UpdateBatch, rows: Tensor) -> UpdateBatch:
    """Return some rows of a batch."""
    return UpdateBatch(
        Observation(*(tensor.index_select(0, rows) for tensor in batch.observation)),
        batch.action.index_select(0, rows),
        batch.log_prob.index_select(0, rows),
        batch.advantage.index_select(0, rows),
        batch.target.index_select(0, rows),
        None if batch.anchor_mean is None else batch.anchor_mean.index_select(0, rows),
        batch.state and Observation(*(tensor.index_select(0, rows) for tensor in batch.state)),
    )


def _stand_in(batch: UpdateBatch) -> UpdateBatch:
    """Return one row of nothing, for a batch without any."""

    def row(tensor: Tensor) -> Tensor:
        return tensor.new_zeros((1, *tensor.shape[1:]))

    observation = Observation(*map(row, batch.observation))
    action, log_probs, advantage, target = map(row, batch[1:5])
    anchor_mean = None if batch.anchor_mean is None else row(batch.anchor_mean)
    state = batch.state and Observation(*map(row, batch.state))
    return UpdateBatch(observation, action, log_probs, advantage, target, anchor_mean, state)
