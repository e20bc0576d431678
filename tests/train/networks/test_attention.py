import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skyclone.train.networks.attention import additive_pool, attention_sharpness, masked_softmax


def plain_additive_pool(
    query: Tensor, key: Tensor, score: Tensor, intruders: Tensor, is_present: Tensor
) -> tuple[Tensor, Tensor]:
    """The formula as it is written in papers, one head and one row at a time, for autograd to differentiate."""
    (heads, _, rows), (features, count, _) = query.shape, intruders.shape
    pooled, weights = [], []
    for head in range(heads):
        for row in range(rows):
            there = [k for k in range(count) if is_present[k, row]]
            row_weights = torch.zeros(count, dtype=intruders.dtype)
            if there:
                x = intruders[:, there, row]  # (F, present)
                scores = score[head] @ torch.tanh(query[head, :, row].unsqueeze(1) + key[head] @ x)
                row_weights = row_weights.index_put((torch.tensor(there),), torch.softmax(scores, 0))
            weights.append(row_weights)
            pooled.append(intruders[:, :, row] @ row_weights)
    return (
        torch.stack(pooled).view(heads, rows, features).transpose(1, 2),
        torch.stack(weights).view(heads, rows, count).transpose(1, 2),
    )


def random_arguments(seed: int, rows: int, count: int, heads: int = 3, size: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    is_present = torch.rand(count, rows, generator=generator) < 0.6
    return [
        normal(heads, size, rows),
        normal(heads, size, 4),
        normal(heads, size),
        normal(4, count, rows),
        is_present,
    ]


def test_attention_worked_by_hand() -> None:
    # One head of size 1, v = 1, key = identity, query 0: scores are tanh(0) = 0 and tanh(atanh(0.5)) = 0.5,
    # so the weights are 1 / (1 + e^0.5) and e^0.5 / (1 + e^0.5).
    one = torch.ones(1, 1, dtype=torch.float64)
    intruders = torch.tensor([0.0, math.atanh(0.5)], dtype=torch.float64).view(1, 2, 1)
    present = torch.ones(2, 1, dtype=torch.bool)
    pooled, weights = additive_pool(
        torch.zeros(1, 1, 1, dtype=torch.float64), one.view(1, 1, 1), one, intruders, present
    )
    second = math.exp(0.5) / (1 + math.exp(0.5))
    assert weights.flatten().tolist() == pytest.approx([1 - second, second], abs=1e-12)
    assert pooled.item() == pytest.approx(second * math.atanh(0.5), abs=1e-12)


@pytest.mark.parametrize(("rows", "count"), [(4, 6), (1, 1), (3, 0), (0, 3)])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_additive_pool_is_the_plain_formula(rows: int, count: int, with_gradient: bool) -> None:
    arguments = random_arguments(1, rows, count)
    with torch.set_grad_enabled(with_gradient):
        pooled, weights = additive_pool(*arguments)
    if rows:
        expected_pooled, expected_weights = plain_additive_pool(*arguments)
        torch.testing.assert_close(pooled, expected_pooled)
        torch.testing.assert_close(weights, expected_weights)
    assert pooled.shape == (3, 4, rows)
    assert weights.shape == (3, count, rows)


def test_gradients_by_hand_are_those_of_autograd_on_the_plain_formula() -> None:
    arguments = random_arguments(2, 5, 7)
    for argument in arguments[:3]:
        argument.requires_grad_()
    weight_of = [torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(3, 7, 5, dtype=torch.float64)]
    found, expected = [
        torch.autograd.grad(
            sum((output * weight).sum() for output, weight in zip(pool(*arguments), weight_of)), arguments[:3]
        )
        for pool in (additive_pool, plain_additive_pool)
    ]
    torch.testing.assert_close(found, expected)


def transposed(tensor: Tensor) -> Tensor:
    """The same numbers, laid out the other way round."""
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


OUTPUTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "both": lambda pooled, weights: (pooled, weights),
    "pooled": lambda pooled, weights: pooled,
    "weights": lambda pooled, weights: weights,
    "weights as a network returns them": lambda pooled, weights: weights.permute(2, 0, 1),
    "both, permuted": lambda pooled, weights: (pooled.permute(2, 1, 0), weights.permute(2, 0, 1)),
}


@pytest.mark.parametrize("are_contiguous", [True, False])
@pytest.mark.parametrize("choose", OUTPUTS.values(), ids=OUTPUTS)
def test_gradcheck_of_every_output_in_any_layout(choose: Callable[..., Any], are_contiguous: bool) -> None:
    *leaves, intruders, is_present = random_arguments(3, 4, 3, heads=2, size=2)
    is_present[:, 0] = False  # nobody around
    if not are_contiguous:
        leaves, intruders, is_present = [transposed(leaf) for leaf in leaves], transposed(intruders), is_present.T
        is_present = is_present.contiguous().T
        assert not any(tensor.is_contiguous() for tensor in (*leaves, intruders, is_present))

    def pool(*inputs: Tensor) -> Any:
        return choose(*additive_pool(*inputs, intruders, is_present))

    assert torch.autograd.gradcheck(pool, [leaf.requires_grad_() for leaf in leaves])


@pytest.mark.parametrize(("rows", "count"), [(3, 0), (0, 3), (0, 0)])
def test_without_any_intruder_or_any_row_the_gradients_are_zero(rows: int, count: int) -> None:
    *leaves, intruders, is_present = random_arguments(5, rows, count)
    pooled, weights = additive_pool(*(leaf.requires_grad_() for leaf in leaves), intruders, is_present)
    (pooled.sum() + weights.permute(2, 0, 1).square().sum()).backward()  # type: ignore[no-untyped-call]
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves)


def test_gradient_reaches_the_intruders_when_asked_for() -> None:
    query, key, score, intruders, is_present = random_arguments(4, 2, 3, heads=2, size=2)
    inputs = (query, key, score, intruders.requires_grad_())
    assert torch.autograd.gradcheck(lambda *leaves: additive_pool(*leaves, is_present), inputs)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 6), st.floats(0.01, 1e4))
def test_masked_softmax_sums_to_one_over_the_present_and_is_zero_elsewhere(
    seed: int, count: int, size: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = size * torch.randn(8, count, generator=generator)
    is_present = torch.rand(8, count, generator=generator) < 0.5
    weights = masked_softmax(scores, is_present, dim=1)
    assert torch.isfinite(weights).all()
    assert (weights[~is_present] == 0).all()
    torch.testing.assert_close(weights.sum(1), is_present.any(1).float())


def test_sharpness_leaves_out_rows_with_fewer_than_two_intruders() -> None:
    attention = torch.tensor([[[0.9, 0.1, 0.0]], [[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]], [[0.5, 0.2, 0.3]]])
    is_present = torch.tensor([[True, True, False], [True, False, False], [False] * 3, [True] * 3])
    total, rows = attention_sharpness(attention, is_present)
    assert rows.item() == 2
    assert total.item() / rows.item() == pytest.approx(0.7)
    assert attention_sharpness(torch.zeros(3, 2, 0), torch.zeros(3, 0, dtype=torch.bool))[1].item() == 0
