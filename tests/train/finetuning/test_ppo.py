from math import e, inf, log, pi

import pytest
import torch
from processes_in_threads import in_threads

from skyclone.datasets.errors import ConfigurationError
from skyclone.train.finetuning import ppo
from skyclone.train.finetuning.config import PPOConfig

FALSE, TRUE = torch.tensor([[False]]), torch.tensor([[True]])


def column(*numbers: float | bool) -> torch.Tensor:
    """One slot, one number a step: (T, 1)."""
    return torch.tensor(numbers).unsqueeze(-1)


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
    (loss,) = ppo.policy_losses(new, torch.zeros(1), torch.tensor([advantage]), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert new.grad is not None
    assert bool(new.grad.abs().item() > 0) is has_gradient


def test_kl_estimate_and_clipping_of_each_row() -> None:
    new = torch.tensor([log(1.5), 0.0, log(0.9), log(0.5)])
    assert ppo.is_clipped(new, torch.zeros(4), 0.2).tolist() == [1, 0, 0, 1]
    by_hand = [0.5 - log(1.5), 0, -0.1 - log(0.9), -0.5 - log(0.5)]
    assert ppo.approximate_kls(new, torch.zeros(4)).tolist() == pytest.approx(by_hand, rel=1e-5)


def test_explained_variance() -> None:
    target = torch.tensor([1.0, 2.0, 3.0])
    assert ppo.explained_variance(target, target) == 1
    assert ppo.explained_variance(torch.full((3,), 2.0), target) == 0
    assert ppo.explained_variance(-target, target) == pytest.approx(-3)
    assert ppo.explained_variance(target, torch.ones(3)) == 0


def test_advantages_of_all_processes_are_normalised_together() -> None:
    advantage = torch.randn(100, generator=torch.Generator().manual_seed(0)) + 3.0
    parts = torch.split(advantage, [70, 30])
    for limit in (inf, 1.5):
        one, other = in_threads(2, lambda each, limit=limit: ppo.normalise(parts[each.rank], limit, each))
        torch.testing.assert_close(torch.cat((one, other)), ppo.normalise(advantage, limit))


def test_no_advantage_counts_more_than_the_limit() -> None:
    # of 101 rows one is 101 above all others: sqrt(100) = 10 standard deviations above the mean, they 0.1 below it
    advantage = torch.zeros(101, dtype=torch.float64)
    advantage[7] = 101.0
    normal, limited = ppo.normalise(advantage), ppo.normalise(advantage, 4.0)
    assert (normal[7].item(), normal[0].item()) == pytest.approx((10.0, -0.1))
    # of two values only, there is no other way to have mean 0 and deviation 1
    assert (limited[7].item(), limited[0].item()) == pytest.approx((10.0, -0.1))
    # of three: the largest is moved to 1, the gaps between the others stay in proportion
    advantage = torch.tensor([-1.0] * 100 + [0.0] * 900 + [100.0], dtype=torch.float64)
    limited = ppo.normalise(advantage, 1.0)
    assert limited.mean().item() == pytest.approx(0, abs=1e-12)
    assert limited.square().mean().item() == pytest.approx(1)
    normal = ppo.normalise(advantage)
    gaps = (1.0 - normal[500]) / (normal[500] - normal[0])
    assert ((limited[-1] - limited[500]) / (limited[500] - limited[0])).item() == pytest.approx(gaps.item())
    torch.testing.assert_close(ppo.normalise(advantage, 40.0), normal, msg="within it nothing is changed")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "expected epochs of 1 or more, got 0"),
        ({"lr": 0.0}, "expected lr above 0, got 0.0"),
        ({"discount": 1.1}, "expected discount from 0 to 1, got 1.1"),
        ({"target_kl": -1.0}, "expected target_kl of 0 or more, got -1.0"),
        ({"limit": 0.0}, "expected limit above 0, got 0.0"),
        ({"share": 0.0}, "expected share above 0 and up to 1, got 0.0"),
        ({"average": 1.0}, "expected average of 0 or more and below 1, got 1.0"),
    ],
)
def test_wrong_configuration(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PPOConfig(**wrong)  # type: ignore[arg-type]
