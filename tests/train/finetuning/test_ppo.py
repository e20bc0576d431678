from math import e, log, pi

import pytest
import torch

from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.finetuning import ppo
from skyclone.train.finetuning.critic import Critic
from skyclone.train.finetuning.ppo import PPOConfig, UpdateBatch

VIEW = View("ego", intruders=3)
FALSE, TRUE = torch.tensor([[False]]), torch.tensor([[True]])


def column(*numbers: float | bool) -> torch.Tensor:
    """One slot, one number a step: (T, 1)."""
    return torch.tensor(numbers).unsqueeze(-1)


def observation(rows: int, seed: int = 0, view: View = VIEW) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    is_present = torch.rand(rows, 3, generator=generator) < 0.7
    intruders = torch.randn(rows, 3, view.intruder_features, generator=generator) * is_present.unsqueeze(-1)
    return Observation(torch.randn(rows, 7, generator=generator), intruders, is_present)


def actor_and_critic(log_std: float = -3.0) -> tuple[ppo.Actor, Critic]:
    network = networks.make("pairwise", VIEW, seed=1, hidden=16, width=8, heads=1, head_size=4)
    return ppo.Actor(network, log_std), Critic(VIEW, network.spec, seed=2)


def test_log_prob_is_that_of_torchs_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    action, mean = torch.randn(50, 2, generator=generator), torch.randn(50, 2, generator=generator)
    log_std = torch.tensor([-3.0, 0.5])
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(action).sum(-1)
    torch.testing.assert_close(ppo.log_prob(action, mean, log_std), expected)


def test_log_prob_at_the_mean_is_the_peaks_height() -> None:
    height = ppo.log_prob(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([log(0.05), log(0.05)]))
    assert height.item() == pytest.approx(2 * log(1 / (0.05 * (2 * pi) ** 0.5)), rel=1e-6)


def test_entropy_of_the_unit_gaussian() -> None:
    assert ppo.entropy(torch.zeros(2)).item() == pytest.approx(log(2 * pi * e), rel=1e-6)


def test_kl_of_a_gaussian_to_itself_is_zero() -> None:
    mean, log_std = torch.randn(4, 2), torch.tensor([-3.0, -1.0])
    assert ppo.kl_divergence(mean, log_std, mean, log_std).abs().max() == 0


def test_kl_closed_form() -> None:
    # one number: mean 0.3 against 0.1, std 0.1 against 0.2: log 2 + (0.01 + 0.04) / 0.08 - 1/2
    kl = ppo.kl_divergence(
        torch.tensor([[0.3]]), torch.tensor([log(0.1)]), torch.tensor([[0.1]]), torch.tensor([log(0.2)])
    )
    assert kl.item() == pytest.approx(log(2) + 0.05 / 0.08 - 0.5, rel=1e-5)


def test_gae_by_hand() -> None:
    # discount 0.5, smoothing 0.5; values 1, 2, 3; rewards 1, 1, 1; the rollout ends in a state worth 4
    value = column(1.0, 2.0, 3.0)
    following = ppo.following_values(value, torch.tensor([4.0]), torch.zeros(3, 1), *[FALSE.expand(3, 1)] * 2)
    advantage = ppo.gae(torch.ones(3, 1), value, following, TRUE.expand(3, 1), 0.5, 0.5)
    # deltas: 1 + 1 - 1 = 1; 1 + 1.5 - 2 = 0.5; 1 + 2 - 3 = 0; A2 = 0, A1 = 0.5, A0 = 1 + 0.25 * 0.5
    assert advantage.squeeze(-1).tolist() == pytest.approx([1.125, 0.5, 0.0])


def test_truncation_bootstraps_to_the_endless_return() -> None:
    # a reward of 1 for ever is worth 1 / (1 - 0.9) = 10; the value function knows it, so nothing is a surprise
    value = torch.full((5, 1), 10.0)
    stopped = column(False, False, True, False, False)
    following = ppo.following_values(value, torch.tensor([10.0]), value, FALSE.expand(5, 1), stopped)
    advantage = ppo.gae(torch.ones(5, 1), value, following, ~stopped, 0.9, 0.95)
    assert advantage.abs().max() < 1e-5
    # a value function that knows nothing but the state of truncation: the target is the endless return as well
    final = torch.where(stopped, 10.0, 0.0)
    following = ppo.following_values(torch.zeros(5, 1), torch.zeros(1), final, FALSE.expand(5, 1), stopped)
    advantage = ppo.gae(torch.ones(5, 1), torch.zeros(5, 1), following, ~stopped, 0.9, 1.0)
    assert advantage[:3].squeeze(-1).tolist() == pytest.approx([10.0, 10.0, 10.0])


def test_termination_does_not_bootstrap() -> None:
    value = torch.full((3, 1), 10.0)
    ended = column(False, False, True)
    following = ppo.following_values(value, torch.tensor([10.0]), value, ended, FALSE.expand(3, 1))
    advantage = ppo.gae(torch.ones(3, 1), value, following, ~ended, 0.9, 1.0)
    # what really comes: 1, then 1.9, then 2.71
    assert (advantage + value).squeeze(-1).tolist() == pytest.approx([2.71, 1.9, 1.0])


def test_trajectories_of_different_lengths_do_not_mix() -> None:
    # slot 0 flies 2 steps, is gone for one, and a new one begins; slot 1 flies all 5. Each alone gives the same.
    reward = torch.tensor([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [5.0, 1.0], [7.0, 1.0]])
    value = torch.tensor([[0.5, 0.1], [0.2, 0.2], [0.0, 0.3], [0.4, 0.4], [0.6, 0.5]])
    is_flying = torch.tensor([[True, True], [True, True], [False, True], [True, True], [True, True]])
    terminated = torch.zeros(5, 2, dtype=torch.bool)
    terminated[1, 0] = True
    last = torch.tensor([3.0, 4.0])

    def advantages(rows: slice, slot: int) -> torch.Tensor:
        part = (reward[rows, slot : slot + 1], value[rows, slot : slot + 1])
        ended, flies = terminated[rows, slot : slot + 1], is_flying[rows, slot : slot + 1]
        following = ppo.following_values(part[1], last[slot : slot + 1], 0 * part[1], ended, ended & False)
        return ppo.gae(*part, following * flies, flies & ~ended, 0.9, 0.8).squeeze(-1)

    following = ppo.following_values(value, last, 0 * value, terminated, terminated & False) * is_flying
    both = ppo.gae(reward, value, following, is_flying & ~terminated, 0.9, 0.8)
    torch.testing.assert_close(both[:2, 0], advantages(slice(0, 2), 0))
    torch.testing.assert_close(both[3:, 0], advantages(slice(3, 5), 0))
    torch.testing.assert_close(both[:, 1], advantages(slice(0, 5), 1))
    assert both[2, 0] == 0


def test_advantages_are_normalised_over_all_rows() -> None:
    advantage = ppo.normalise(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert advantage.mean().item() == pytest.approx(0, abs=1e-6)
    assert advantage.square().mean().item() == pytest.approx(1, rel=1e-5)
    assert ppo.normalise(torch.full((4,), 2.0)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "has_gradient"),
    [
        (1.0, 2.0, -2.0, True),
        (1.5, 1.0, -1.2, False),  # already far enough in the good direction: clipped, no more gradient
        (0.5, -1.0, 0.8, False),
        (0.5, 1.0, -0.5, True),  # gone the wrong way: the gradient that brings it back stays
        (1.5, -1.0, 1.5, True),
    ],
)
def test_ratio_is_clipped_pessimistically(
    ratio: float, advantage: float, expected: float, has_gradient: bool
) -> None:
    new = torch.tensor([log(ratio)], requires_grad=True)
    loss = ppo.policy_loss(new, torch.zeros(1), torch.tensor([advantage]), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert new.grad is not None
    assert bool(new.grad.abs().item() > 0) is has_gradient


def test_kl_estimate_and_clip_fraction() -> None:
    new = torch.tensor([log(1.5), 0.0, log(0.9), log(0.5)])
    assert ppo.clip_fraction(new, torch.zeros(4), 0.2).item() == 0.5
    by_hand = (0.5 - log(1.5) + 0 + (-0.1 - log(0.9)) + (-0.5 - log(0.5))) / 4
    assert ppo.approximate_kl(new, torch.zeros(4)).item() == pytest.approx(by_hand, rel=1e-5)


def test_explained_variance() -> None:
    target = torch.tensor([1.0, 2.0, 3.0])
    assert ppo.explained_variance(target, target) == 1
    assert ppo.explained_variance(torch.full((3,), 2.0), target) == 0
    assert ppo.explained_variance(-target, target) == pytest.approx(-3)
    assert ppo.explained_variance(target, torch.ones(3)) == 0


def test_minibatches_hold_each_row_once_and_are_equally_large() -> None:
    parts = list(ppo.minibatches(1000, 300, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(parts).tolist()) == list(range(1000))
    assert {len(part) for part in parts} <= {333, 334, 332}
    again = list(ppo.minibatches(1000, 300, torch.Generator().manual_seed(0)))
    assert all(torch.equal(one, other) for one, other in zip(parts, again))


def test_actor_starts_bit_equal_to_the_network() -> None:
    actor, _ = actor_and_critic()
    seen = observation(64)
    assert torch.equal(actor(seen), actor.network(seen))
    assert actor.log_std.tolist() == [-3, -3]


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


def test_frozen_actor_stays_untouched_while_the_critic_learns() -> None:
    actor, critic = actor_and_critic()
    config = PPOConfig(minibatch=64, epochs=3)
    optimizer = ppo.make_optimizer(actor, critic, config)
    before, critic_before = weights(actor), weights(critic)
    generator = torch.Generator().manual_seed(0)
    batch = batch_of(actor, torch.randn(256))
    frozen = ppo.update(actor, critic, optimizer, batch, config, generator, is_actor_frozen=True)
    assert frozen.actor_steps == 0
    assert all(torch.equal(one, other) for one, other in zip(before, weights(actor)))
    assert not any(torch.equal(one, other) for one, other in zip(critic_before, weights(critic)))
    free = ppo.update(actor, critic, optimizer, batch, config, generator)
    assert free.actor_steps == 12
    assert not torch.equal(before[0], weights(actor)[0])


def test_actor_stops_once_it_has_moved_far_enough() -> None:
    actor, critic = actor_and_critic()
    config = PPOConfig(lr=1e-2, minibatch=64, epochs=10, target_kl=0.02)
    optimizer = ppo.make_optimizer(actor, critic, config)
    batch = batch_of(actor, ppo.normalise(torch.randn(512, generator=torch.Generator().manual_seed(1))))
    figures = ppo.update(actor, critic, optimizer, batch, config, torch.Generator().manual_seed(0))
    assert 0 < figures.actor_steps < 80
    assert figures.kl <= 0.02


def test_anchor_pulls_back_to_the_clone() -> None:
    # no advantage at all: the surrogate has no gradient, the anchor alone decides
    actor, critic = actor_and_critic(log_std=log(0.05))
    config = PPOConfig(lr=1e-2, minibatch=256, epochs=200, target_kl=0)
    batch = batch_of(actor, torch.zeros(256))
    assert batch.anchor_mean is not None
    other = batch._replace(anchor_mean=batch.anchor_mean + 0.1)
    loss, _ = ppo.actor_loss(actor, other, 0.5, log(0.05), config)
    assert loss.item() == pytest.approx(0.5 * 2 * 0.1**2 / (2 * 0.05**2), rel=1e-4)  # 0.5 * KL
    optimizer = ppo.make_optimizer(actor, critic, config)
    ppo.update(actor, critic, optimizer, other, config, torch.Generator().manual_seed(0), anchor=0.5,
               anchor_log_std=log(0.05))  # fmt: skip
    assert other.anchor_mean is not None
    assert (actor(other.observation) - other.anchor_mean).abs().mean() < 0.03


def test_ppo_learns_a_known_target() -> None:
    # one step, reward -(a - a*)^2 with a* = (0.4, -0.3): the best return is -2 std^2 from the noise alone
    torch.manual_seed(0)
    actor, critic = actor_and_critic(log_std=log(0.1))
    config = PPOConfig(lr=3e-3, critic_lr=3e-3, minibatch=256, epochs=4, target_kl=0)
    optimizer = ppo.make_optimizer(actor, critic, config)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.tensor([0.4, -0.3])
    for iteration in range(60):
        batch = batch_of(actor, torch.zeros(512), seed=iteration)
        reward = -(batch.action - wanted).square().sum(-1)
        with torch.no_grad():
            advantage = ppo.normalise(reward - critic(batch.observation))
        batch = batch._replace(advantage=advantage, target=reward)
        ppo.update(actor, critic, optimizer, batch, config, generator)
    assert (actor(observation(200, seed=999)) - wanted).abs().max() < 0.1
    assert reward.mean() > -0.03
    assert critic(observation(200, seed=999)).mean().item() == pytest.approx(-0.02, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "expected epochs of 1 or more, got 0"),
        ({"lr": 0.0}, "expected lr above 0, got 0.0"),
        ({"discount": 1.1}, "expected discount from 0 to 1, got 1.1"),
        ({"target_kl": -1.0}, "expected target_kl of 0 or more, got -1.0"),
    ],
)
def test_wrong_configuration(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PPOConfig(**wrong)  # type: ignore[arg-type]
