"""Muon: orthogonal steps for matrices, AdamW for all else."""

from collections.abc import Iterable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from skyclone.train.runs.muon import Muon, orthogonal
from skyclone.train.tensor_file import optimizer_tensors, restore_optimizer

SHAPES = {"wide": (24, 40), "tall": (40, 24), "narrow": (8, 64), "heads": (3, 16, 16), "bias": (40,), "number": ()}
MATRICES = ("wide", "tall")


def parameters(names: Iterable[str] = SHAPES) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(SHAPES[name], generator=generator)) for name in names}


def give_gradients(weights: dict[str, nn.Parameter], step: int) -> None:
    """Give each weight a gradient of its own, the same in each call for this step."""
    for number, weight in enumerate(weights.values()):
        generator = torch.Generator().manual_seed(100 * step + number)
        weight.grad = torch.randn(weight.shape, generator=generator) * 10.0 ** (number % 3)


def train(optimizer: torch.optim.Optimizer, weights: dict[str, nn.Parameter], steps: range) -> None:
    for step in steps:
        give_gradients(weights, step)
        optimizer.step()


def assert_equal(one: dict[str, nn.Parameter], other: dict[str, nn.Parameter]) -> None:
    for name in one:
        assert torch.equal(one[name], other[name]), name


# --- the orthogonal step ---


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(2, 64),
    columns=st.integers(2, 64),
    seed=st.integers(0, 2**31),
    condition=st.floats(1.0, 30.0),
    scale=st.floats(1e-3, 1e3),
)
def test_it_keeps_the_directions_and_makes_singular_values_about_1(
    rows: int, columns: int, seed: int, condition: float, scale: float
) -> None:
    """Of U S V^T it makes U S' V^T."""
    generator, rank = torch.Generator().manual_seed(seed), min(rows, columns)
    drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    values = torch.rand(rank, generator=generator, dtype=torch.float64) * (1 - 1 / condition) + 1 / condition
    matrix = (scale * left * values @ right).float()
    made = left.T @ orthogonal(matrix).double() @ right.T  # S'
    assert orthogonal(matrix).shape == matrix.shape
    found = made.diagonal()
    assert ((found > 0.05) & (found < 1.3)).all()
    assert ((found > 0.6) | (values < 0.05)).all(), "what is not small comes near to 1"
    torch.testing.assert_close(made - found.diag(), torch.zeros_like(made), rtol=0, atol=2e-3)


def test_an_orthogonal_matrix_keeps_its_direction_and_nothing_stays_nothing() -> None:
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    made = orthogonal(turn)
    assert 0.7 < made.norm() / turn.norm() < 1.3
    torch.testing.assert_close(made / made.norm(), turn / turn.norm())
    assert orthogonal(torch.zeros(16, 20)).abs().max() == 0


# --- who moves how ---


def test_a_first_step_by_hand() -> None:
    """The nearest orthogonal matrix to the gradient, times the root of rows / columns where there are more rows."""
    weights = parameters()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    train(Muon(weights.values(), lr=0.1, weight_decay=0.5), weights, range(1))
    for name in MATRICES:
        weight = weights[name]
        assert weight.grad is not None
        rows, columns = weight.shape
        left, _, right = torch.linalg.svd(weight.grad, full_matrices=False)
        step = (0.95 * before[name] - weight.detach()) / 0.1 / max(1.0, rows / columns) ** 0.5
        sizes = (left.T @ step @ right.T).diagonal()
        assert ((sizes > 0.6) & (sizes < 1.3)).all(), name


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 brings it")
def test_it_is_torchs_own_but_for_bfloat16() -> None:
    """Which rounds each step by 1 in 100."""
    weights, start = parameters([*MATRICES, "bias"]), parameters(MATRICES)
    theirs = parameters(MATRICES)
    train(Muon(weights.values(), lr=0.02, weight_decay=0.1), weights, range(10))
    train(torch.optim.Muon(theirs.values(), lr=0.02, weight_decay=0.1), theirs, range(10))
    for name in MATRICES:
        way = (weights[name] - start[name]).norm()
        assert (weights[name] - theirs[name]).norm() < 0.02 * way, name


def test_all_else_is_adamw_bit_for_bit() -> None:
    weights = parameters()
    theirs = {name: weight for name, weight in deepcopy(weights).items() if name not in MATRICES}
    train(Muon(weights.values(), lr=0.02, weight_decay=0.1), weights, range(5))
    adamw = torch.optim.AdamW(theirs.values(), lr=0.02, weight_decay=0.1, fused=True)
    for step in range(5):
        give_gradients(weights, step)
        for name, weight in theirs.items():
            weight.grad = weights[name].grad
        adamw.step()
    assert_equal(theirs, weights)
    start = parameters()
    assert not any(torch.equal(weight, start[name]) for name, weight in weights.items())


@pytest.mark.parametrize("names", [MATRICES, ("bias", "narrow")])
def test_one_kind_of_weights_alone_is_moved_as_beside_the_other(names: tuple[str, ...]) -> None:
    every, alone = parameters(), {name: parameters()[name] for name in names}
    optimizers = Muon(every.values(), lr=0.01), Muon(alone.values(), lr=0.01)
    for _ in range(3):
        give_gradients(every, 0)
        for name, weight in alone.items():
            weight.grad = every[name].grad.clone()  # type: ignore[union-attr]
        for optimizer in optimizers:
            optimizer.step()
    assert_equal(alone, every)


@pytest.mark.parametrize("names", [SHAPES, MATRICES[:1], ("bias", "narrow")])
def test_without_a_gradient_nothing_moves(names: Iterable[str]) -> None:
    weights = parameters([*names, "number"])
    start = deepcopy(weights)
    optimizer = Muon(weights.values(), lr=0.1)
    optimizer.step()
    assert_equal(weights, start)


def test_the_learning_rate_is_that_of_all() -> None:
    weights = parameters()
    start, optimizer = deepcopy(weights), Muon(weights.values(), lr=0.1, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(optimizer, weights, range(3))
    assert_equal(weights, start)


# --- a bad gradient, and going on ---


def test_found_inf_leaves_all_weights_untouched() -> None:
    weights = parameters()
    optimizer, plain = Muon(weights.values(), lr=0.1), parameters()
    without = Muon(plain.values(), lr=0.1)
    optimizer.found_inf = torch.zeros(())
    for each, of in ((optimizer, weights), (without, plain)):
        train(each, of, range(3))
    assert_equal(weights, plain)  # where it is 0, all is as without it
    optimizer.found_inf.fill_(1.0)
    for weight in weights.values():
        weight.grad = torch.full_like(weight, torch.nan)
    optimizer.step()
    train(optimizer, weights, range(3, 6))
    assert_equal(weights, plain)


@pytest.mark.parametrize("way", ["state_dict", "file"])
def test_restored_it_goes_on_bit_for_bit(way: str) -> None:
    weights = parameters()
    optimizer = Muon(weights.values(), lr=0.02, weight_decay=0.1)
    train(optimizer, weights, range(4))
    again = deepcopy(weights)
    restored = Muon(again.values(), lr=0.02, weight_decay=0.1)
    if way == "file":
        saved: dict[str, Tensor] = {name: each.clone() for name, each in optimizer_tensors(optimizer).items()}
        assert len(saved) == len(MATRICES) + 3 * (len(SHAPES) - len(MATRICES))
        restore_optimizer(restored, saved)
    else:
        restored.load_state_dict(deepcopy(optimizer.state_dict()))
    for each in (optimizer, restored):
        for group in each.param_groups:
            group["lr"] = 0.01  # reaches both halves, also after restoring
    train(optimizer, weights, range(4, 9))
    train(restored, again, range(4, 9))
    assert_equal(weights, again)
