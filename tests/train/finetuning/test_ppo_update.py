"""What PPO's update does to actor, critic and average; alone and with others."""

from copy import deepcopy
from math import log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes_in_threads import in_threads

from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.finetuning import ppo
from skyclone.train.finetuning.config import PPOConfig
from skyclone.train.finetuning.critic import Critic
from skyclone.train.finetuning.ppo import Update, UpdateBatch, UpdateFigures
from skyclone.train.runs.processes import Processes

VIEW = View("ego", intruders=3)


def observation(rows: int, seed: int = 0) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    is_present = torch.rand(rows, 3, generator=generator) < 0.7
    intruders = torch.randn(rows, 3, VIEW.intruder_features, generator=generator) * is_present.unsqueeze(-1)
    return Observation(torch.randn(rows, 7, generator=generator), intruders, is_present)


def actor_and_critic(log_std: float = -3.0) -> tuple[ppo.Actor, Critic]:
    network = networks.make("pairwise", VIEW, seed=1, hidden=16, width=8, heads=1, head_size=4)
    return ppo.Actor(network, log_std), Critic(VIEW, network.spec, seed=2)


def advantages(rows: int, seed: int = 0) -> torch.Tensor:
    """Most of them near 0, some far from it, as those of free flight and of conflicts."""
    drawn = torch.randn(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return ppo.normalise(drawn)


def test_actor_starts_bit_equal_to_what_the_network_flies() -> None:
    actor, _ = actor_and_critic()
    seen = observation(64)
    assert torch.equal(actor(seen), actor.network(seen).clamp(-1, 1))
    assert actor.log_std.tolist() == [-3, -3]


def test_an_actor_beyond_its_limits_is_at_them_and_finds_back() -> None:
    """Its samples are drawn around the limit, and what leads back has a gradient."""
    actor, _ = actor_and_critic()
    last: Any = actor.network.action[-1]  # type: ignore[index]
    with torch.no_grad():
        last.bias.copy_(torch.tensor([30.0, -30.0]))
    seen = observation(16)
    mean = actor(seen)
    assert mean.unique(dim=0).tolist() == [[1.0, -1.0]]
    for drawn, leads_back in (([0.9, -0.9], True), ([1.1, -1.1], False)):
        loss = -ppo.log_prob(torch.tensor([drawn]), actor(seen), actor.log_std).sum()
        (gradient,) = torch.autograd.grad(loss, last.bias)
        assert gradient.bool().tolist() == [leads_back, leads_back]


def batch_of(actor: ppo.Actor, advantage: torch.Tensor, seed: int = 0) -> UpdateBatch:
    seen = observation(len(advantage), seed)
    with torch.no_grad():
        mean = actor(seen)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
        action = mean + noise * actor.log_std.exp()
        old = ppo.log_prob(action, mean, actor.log_std)
    return UpdateBatch(seen, action, old, advantage, torch.arange(float(len(advantage))), mean)


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


class Learner:
    """Actor, critic and what changes them."""

    def __init__(self, config: PPOConfig, log_std: float = -3.0, seed: int = 0) -> None:
        self.actor, self.critic = actor_and_critic(log_std)
        self.average = deepcopy(self.actor.network)
        optimizer = ppo.make_optimizer(self.actor, self.critic, config)
        generator = torch.Generator().manual_seed(seed)
        self.update = Update(self.actor, self.critic, self.average, optimizer, config, generator, Processes())

    def learn(self, batch: UpdateBatch, anchor: float = 0.0, is_actor_frozen: bool = False) -> UpdateFigures:
        return self.update.learn(batch, anchor=anchor, anchor_log_std=log(0.05), is_actor_frozen=is_actor_frozen)

    def weights(self) -> list[torch.Tensor]:
        return [*weights(self.actor), *weights(self.critic), *weights(self.average)]


def test_frozen_actor_stays_untouched_while_the_critic_learns() -> None:
    learner = Learner(PPOConfig(minibatch=64, epochs=3, share=1.0))
    actor, critic = learner.actor, learner.critic
    before, critic_before = weights(actor), weights(critic)
    batch = batch_of(actor, torch.randn(256, generator=torch.Generator().manual_seed(1)))
    frozen = learner.learn(batch, is_actor_frozen=True)
    assert frozen.actor_steps == frozen.policy_loss == frozen.kl == 0
    assert frozen.value_loss > 0
    assert all(torch.equal(one, other) for one, other in zip(before, weights(actor)))
    assert all(torch.equal(one, other) for one, other in zip(weights(actor.network), weights(learner.average)))
    assert not any(torch.equal(one, other) for one, other in zip(critic_before, weights(critic)))
    free = learner.learn(batch)
    assert free.actor_steps == 12
    assert not torch.equal(before[0], weights(actor)[0])


def test_actor_stops_once_it_has_moved_far_enough() -> None:
    learner = Learner(PPOConfig(lr=1e-2, minibatch=64, epochs=10, target_kl=0.02, share=1.0))
    batch = batch_of(learner.actor, ppo.normalise(torch.randn(512, generator=torch.Generator().manual_seed(1))))
    figures = learner.learn(batch)
    assert 0 < figures.actor_steps < 80
    assert figures.kl <= 0.02


def test_anchor_pulls_back_to_the_clone() -> None:
    # no advantage at all: the surrogate has no gradient, the anchor alone decides
    learner = Learner(PPOConfig(lr=1e-2, minibatch=256, epochs=200, target_kl=0, share=1.0), log(0.05))
    batch = batch_of(learner.actor, torch.zeros(256))
    assert batch.anchor_mean is not None
    other = batch._replace(anchor_mean=batch.anchor_mean + 0.1)
    weight = torch.full((256,), 1 / 256)
    loss, _ = ppo.actor_loss(learner.actor, other, weight, 0.5, log(0.05), learner.update.config)
    assert loss.item() == pytest.approx(0.5 * 2 * 0.1**2 / (2 * 0.05**2), rel=1e-4)  # 0.5 * KL
    learner.learn(other, anchor=0.5)
    assert other.anchor_mean is not None
    assert (learner.actor(other.observation) - other.anchor_mean).abs().mean() < 0.03


def test_ppo_learns_a_known_target() -> None:
    # one step, reward -(a - a*)^2 with a* = (0.4, -0.3): the best return is -2 std^2 from the noise alone
    config = PPOConfig(lr=3e-3, critic_lr=3e-3, minibatch=256, epochs=4, target_kl=0, share=1.0, average=0.9)
    learner = Learner(config, log(0.1))
    wanted = torch.tensor([0.4, -0.3])
    for iteration in range(60):
        batch = batch_of(learner.actor, torch.zeros(512), seed=iteration)
        reward = -(batch.action - wanted).square().sum(-1)
        with torch.no_grad():
            advantage = ppo.normalise(reward - learner.critic(batch.observation))
        learner.learn(batch._replace(advantage=advantage, target=reward))
    seen = observation(200, seed=999)
    for network in (learner.actor, learner.average):
        assert (network(seen) - wanted).abs().max() < 0.1
    assert reward.mean() > -0.03
    assert learner.critic(seen).mean().item() == pytest.approx(-0.02, abs=0.02)


# --- a share of the rows ---


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 500), share=st.floats(0.01, 1.0), seed=st.integers(0, 100))
def test_chances_are_chances_and_grow_with_the_advantage(rows: int, share: float, seed: int) -> None:
    advantage = advantages(rows, seed)
    chance = ppo.chances(advantage, share)
    assert ((chance > 0) & (chance <= 1)).all()
    order = advantage.abs().argsort()
    assert (chance[order].diff() >= 0).all()
    assert chance.sum() <= share * rows * (1 + 1e-9)
    if rows >= 100 and share <= 0.5:
        assert chance.sum() == pytest.approx(share * rows, rel=0.05)


def test_chances_of_equal_rows_are_the_share() -> None:
    assert ppo.chances(torch.zeros(10), 0.3).tolist() == pytest.approx([0.3] * 10)
    assert ppo.chances(torch.tensor([2.0, -2.0, 0.0, 0.0]), 0.4).tolist() == pytest.approx(
        [1.6 * 2.1 / 4.4] * 2 + [1.6 * 0.1 / 4.4] * 2
    )
    # who would have more than 1 comes always; what it leaves goes to the others
    chance = ppo.chances(torch.tensor([3.9, 0.9, -0.9, 0.9]), 0.5)
    assert chance.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3], rel=0.03)


@pytest.mark.parametrize(("rows", "count"), [(1000, 3), (5, 7), (0, 2), (1, 1)])
def test_minibatches_hold_each_row_once_and_are_equally_large(rows: int, count: int) -> None:
    parts = list(ppo.minibatches(None, rows, count, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(parts).tolist()) == list(range(rows))
    sizes = {len(part) for part in parts}
    assert len(parts) == count
    assert max(sizes) - min(sizes) <= 1
    again = list(ppo.minibatches(None, rows, count, torch.Generator().manual_seed(0)))
    assert all(torch.equal(one, other) for one, other in zip(parts, again))


def test_what_is_learned_from_a_share_is_right_on_average() -> None:
    """Divided by its chance, each row counts as much as with all rows; and few are needed."""
    rows, share, draws = 400, 0.3, 1500
    advantage = advantages(rows)
    value = advantage + torch.linspace(-1, 1, rows, dtype=torch.float64)  # such as a gradient
    chance, generator = ppo.chances(advantage, share), torch.Generator().manual_seed(0)
    sums, sizes, seen = [], [], torch.zeros(rows)
    for _ in range(draws):
        parts = list(ppo.minibatches(chance, rows, 4, generator))
        assert len(parts) == 4
        chosen = torch.cat(parts)
        assert len(torch.unique(chosen)) == len(chosen), "none twice"
        seen[chosen] += 1
        sums.append(float((value[chosen] / chance[chosen]).sum()))
        sizes.append(len(chosen))
    mean, error = torch.tensor(sums).mean().item(), torch.tensor(sums).std().item() / draws**0.5
    assert abs(mean - float(value.sum())) < 3.5 * error
    assert sum(sizes) / draws == pytest.approx(share * rows, rel=0.01)
    assert ((seen / draws - chance).abs() < 5 * (chance * (1 - chance) / draws).sqrt() + 1e-9).all()


def test_a_share_gives_the_gradient_of_all_rows_on_average() -> None:
    config = PPOConfig(minibatch=10**6, epochs=1, share=0.4)
    learner = Learner(config)
    batch = batch_of(learner.actor, advantages(300).float())
    chance, generator = ppo.chances(batch.advantage, config.share), torch.Generator().manual_seed(0)
    parameters = [learner.actor.log_std, learner.actor.network.action[-1].bias]  # type: ignore[index]

    def gradient(part: UpdateBatch, weight: torch.Tensor) -> torch.Tensor:
        loss, _ = ppo.actor_loss(learner.actor, part, weight, 0.0, 0.0, config)
        return torch.cat(torch.autograd.grad(loss, parameters))

    found = []
    for _ in range(400):
        (chosen,) = ppo.minibatches(chance, 300, 1, generator)
        found.append(gradient(ppo.take(batch, chosen), 1 / 300 / chance[chosen]))
    each = torch.stack(found)
    expected = gradient(batch, torch.full((300,), 1 / 300))
    error = each.std(0) / len(each) ** 0.5
    assert ((each.mean(0) - expected).abs() < 4 * error).all()


def test_an_update_from_a_share_has_the_losses_of_all_rows_on_average() -> None:
    """Of critic and actor, though the rows that are drawn most often are those the critic knows least about."""
    config = PPOConfig(minibatch=50, epochs=200, share=0.3, lr=1e-12, critic_lr=1e-12, target_kl=0)
    learner, advantage = Learner(config), advantages(400).float() + 0.2
    batch = batch_of(learner.actor, advantage)._replace(target=4 * advantage.abs())
    with torch.no_grad():
        value_loss = learner.critic.losses(batch.observation, batch.target).mean().item()
    figures = learner.learn(batch)
    assert figures.value_loss == pytest.approx(value_loss, rel=0.02)
    assert figures.policy_loss == pytest.approx(-0.2, abs=0.02)  # as no ratio has moved


# --- what is flown and published: the average; and the noise ---


def test_the_average_follows_the_weights() -> None:
    """One gradient step each: after two of them it is w0 / 4 + w1 / 4 + w2 / 2 where it forgets half in a step."""
    learner = Learner(PPOConfig(minibatch=10**6, epochs=1, average=0.5, lr=1e-2, share=1.0, target_kl=0))
    batch = batch_of(learner.actor, advantages(64).float())
    passed = [weights(learner.actor.network)]
    for _ in range(2):
        assert learner.learn(batch).actor_steps == 1
        passed.append(weights(learner.actor.network))
    for average, first, second, third in zip(weights(learner.average), *passed, strict=True):
        torch.testing.assert_close(average, first / 4 + second / 4 + third / 2)
    assert not torch.equal(passed[0][0], passed[2][0])


def test_without_memory_the_average_is_the_actor() -> None:
    learner = Learner(PPOConfig(minibatch=32, epochs=2, average=0.0, lr=1e-2))
    learner.learn(batch_of(learner.actor, advantages(256).float()))
    for average, weight in zip(weights(learner.average), weights(learner.actor.network), strict=True):
        torch.testing.assert_close(average, weight)


@pytest.mark.parametrize(("log_std", "std"), [(-20.0, 0.01), (1.0, 0.2), (log(0.05), 0.05)])
def test_noise_stays_within_its_bounds(log_std: float, std: float) -> None:
    learner = Learner(PPOConfig(minibatch=10**6, epochs=1, lr=1e-5, target_kl=0), log_std)
    learner.learn(batch_of(learner.actor, advantages(64).float()))
    assert learner.actor.log_std.exp().tolist() == pytest.approx([std, std], rel=1e-3)


def test_not_even_a_bonus_brings_it_out_of_them() -> None:
    learner = Learner(PPOConfig(minibatch=64, epochs=20, lr=0.1, entropy=10.0, target_kl=0), log(0.05))
    learner.learn(batch_of(learner.actor, advantages(256).float()))
    assert learner.actor.log_std.exp().tolist() == pytest.approx([0.2, 0.2])


# --- several processes ---


def learned_by_two(
    config: PPOConfig, batch: UpdateBatch, sizes: tuple[int, int], **options: Any
) -> tuple[list[Learner], UpdateFigures]:
    """Let two processes learn from the first rows and the others; return them, and the figures both come to."""
    parts = [ppo.take(batch, rows) for rows in torch.split(torch.arange(len(batch.action)), list(sizes))]
    learners = [Learner(config, seed=rank) for rank in range(2)]

    def work(processes: Processes) -> UpdateFigures:
        learners[processes.rank].update.processes = processes
        return learners[processes.rank].learn(parts[processes.rank], **options)

    one, other = in_threads(2, work)
    assert one == other
    for mine, yours in zip(learners[0].weights(), learners[1].weights(), strict=True):
        assert torch.equal(mine, yours)
    return learners, one


@pytest.mark.parametrize("sizes", [(128, 128), (200, 56), (256, 0)])
@pytest.mark.parametrize("is_actor_frozen", [False, True])
def test_two_processes_learn_as_one_does_from_all_rows(sizes: tuple[int, int], is_actor_frozen: bool) -> None:
    config = PPOConfig(minibatch=10**6, epochs=3, share=1.0, lr=3e-3, average=0.5, target_kl=0)
    alone, options = Learner(config), {"anchor": 0.1, "is_actor_frozen": is_actor_frozen}
    batch = batch_of(alone.actor, advantages(256).float())
    figures = alone.learn(batch, anchor=0.1, is_actor_frozen=is_actor_frozen)
    learners, together = learned_by_two(config, batch, sizes, **options)
    assert tuple(together) == pytest.approx(tuple(figures), rel=1e-4, abs=1e-5)
    for mine, expected in zip(learners[0].weights(), alone.weights(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


def test_processes_with_unlike_many_rows_make_the_same_steps() -> None:
    config = PPOConfig(minibatch=32, epochs=3, share=0.5, lr=1e-2, target_kl=0.05)
    batch = batch_of(actor_and_critic()[0], advantages(300).float())
    _, figures = learned_by_two(config, batch, (260, 40))
    assert 0 < figures.actor_steps < 3 * round(150 / 32), "they stop together"
