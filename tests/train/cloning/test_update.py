"""One update: its sums, its guard against NaN, and that it fetches nothing from the device."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skyclone.datasets import Dataset
from skyclone.datasets.loading.loader import Batch, Loader, assemble
from skyclone.datasets.loading.snapshots import Snapshots
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.heldout import measure
from skyclone.train.cloning.update import Updater
from skyclone.train.runs.processes import Processes

PAIRS = [*((name, "ego:intruders=4") for name in networks.NAMES), ("pairwise", "seed"), ("pairwise", "cpa")]
CONFIG = CloningConfig(model="pairwise:width=8:hidden=8", observation="ego:intruders=4")


def batch_of(rows: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    observation = Observation(
        torch.randn(rows, 7, generator=generator),
        torch.randn(rows, 4, 5, generator=generator),
        torch.rand(rows, 4, generator=generator) < 0.8,
    )
    return Batch(observation, torch.randn(rows, 2, generator=generator), torch.zeros(rows, dtype=torch.bool))


def learner_of(config: CloningConfig = CONFIG) -> tuple[networks.Network, Updater]:
    network = config.network()
    return network, Updater(network, config, Processes())


def test_an_update_is_a_step_of_adam_on_the_clipped_gradient() -> None:
    """The first step of Adam is lr * sign(gradient), but for epsilon."""
    network, learner = learner_of()
    before = [weight.detach().clone() for weight in network.parameters()]
    batch = batch_of(32)
    loss = (network(batch.observation) - batch.action).square().mean()
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    learner.update(batch, 32, 0.01)
    for old, new, gradient in zip(before, network.parameters(), gradients, strict=True):
        is_large = gradient.abs() > 1e-4
        torch.testing.assert_close((old - new)[is_large], 0.01 * gradient.sign()[is_large], rtol=1e-2, atol=0)
    found = learner.check()
    assert found.bad is None
    assert found.loss == pytest.approx(32 * loss.item())
    assert found.gradient_norm == pytest.approx(norm.item(), rel=1e-5)
    for name, gradient in learner.gradients().items():  # before clipping
        weight = network.projections()[name]
        index = next(i for i, each in enumerate(network.parameters()) if each is weight)
        torch.testing.assert_close(gradient, gradients[index], rtol=1e-4, atol=1e-6)


def test_an_update_with_muon_moves_matrices_alike_in_all_directions() -> None:
    network, learner = learner_of(replace(CONFIG, model="pairwise:width=32:hidden=32", optimizer="muon"))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    learner.update(batch_of(64), 64, 0.01)
    matrices = [name for name, weight in network.named_parameters() if weight.ndim == 2 and min(weight.shape) >= 16]
    assert len(matrices) >= 2
    for name, weight in network.named_parameters():
        step = (before[name] - weight.detach()) / 0.01
        if name in matrices:
            scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
            assert torch.linalg.matrix_norm(step, 2) / scale < 1.3, name
        else:  # Adam's first step
            assert step.abs().max() == pytest.approx(1.0, rel=1e-2), name


def test_the_sums_go_on_where_they_were() -> None:
    _, learner = learner_of()
    learner.begin(100.0, 7.0, 3)
    learner.update(batch_of(8), 8, 0.0)
    first = learner.check()
    assert first.loss > 100.0
    assert first.gradient_norm > 7.0
    learner.begin(0.0, 0.0, 0)
    assert learner.check() == (0.0, 0.0, None)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_from_a_bad_batch_on_nothing_is_learned(value: float, optimizer: Literal["adamw", "muon"]) -> None:
    network, learner = learner_of(replace(CONFIG, model="pairwise:width=16:hidden=16", optimizer=optimizer))
    learner.begin(0.0, 0.0, 10)
    for seed in range(3):
        learner.update(batch_of(16, seed), 16, 0.01)
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    state = [each["step"].item() for each in learner.optimizer.state.values() if "step" in each]
    bad = batch_of(16, 3)
    bad.action[4, 0] = value
    for batch in (bad, batch_of(16, 4), bad, batch_of(16, 5)):
        learner.update(batch, 16, 0.01)
    assert all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())
    after = [each["step"].item() for each in learner.optimizer.state.values() if "step" in each]
    assert after == state == [3.0] * len(state)
    found = learner.check().bad
    assert found is not None
    assert found[2] == 14, "three were used since batch 10, the next is bad"
    assert not found[0] < torch.inf


def test_a_process_without_rows_adds_nothing() -> None:
    network, learner = learner_of()
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    learner.update(batch_of(0), 5, 0.01)
    assert learner.check() == (0.0, 0.0, None)
    assert all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize("view", ["seed", "cpa:intruders=3"])
def test_every_parameter_has_a_gradient(small_dataset: Dataset, name: str, view: str) -> None:
    """Or several processes would wait for each other for ever."""
    config = CloningConfig(model=name, observation=view)
    network, learner = learner_of(config)
    batch = next(iter(small_dataset.batches(batch_size=8, view=view)))
    learner.update(batch, 8, 0.0)
    assert [key for key, weight in network.named_parameters() if weight.grad is None] == []


class Fetches(TorchDispatchMode):
    """Counts what would wait for a GPU: a tensor's value fetched, or a shape that depends on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(each is not None and each.dtype == torch.bool for each in args[1])
        if name in self.WAITS or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def fetches_of(work: Callable[[], object]) -> list[str]:
    with Fetches() as fetches:
        work()
    return fetches.found


@pytest.mark.parametrize(
    ("name", "view", "optimizer"), [*((*each, "adamw") for each in PAIRS), (*PAIRS[0], "muon"), (*PAIRS[1], "muon")]
)
def test_nothing_is_fetched_between_two_looks(
    small_dataset: Dataset, name: str, view: str, optimizer: Literal["adamw", "muon"]
) -> None:
    """Neither by the loader, nor by an update, nor by an evaluation: more batches, not more fetches."""
    store = Snapshots.of(small_dataset, "heldout")
    network, learner = learner_of(CloningConfig(model=name, observation=view, optimizer=optimizer))
    loaders = [Loader(store, View.parse(view), -(-len(store) // batches), seed=1) for batches in (2, 8)]
    assert [len(loader) for loader in loaders] == [2, 8]

    def train(loader: Loader) -> None:
        for batch in loader:
            learner.update(batch, len(batch.action), 1e-3)

    few, many = (fetches_of(lambda loader=loader: train(loader)) for loader in loaders)
    assert len(few) == len(many) <= 2, "the loader's own seed, once an epoch"
    few, many = (fetches_of(lambda loader=loader: measure(network, loader)) for loader in loaders)
    assert len(few) == len(many) <= 2
    assert fetches_of(learner.check) == fetches_of(lambda: torch.ones(6).tolist())


def test_the_counter_counts() -> None:
    found = fetches_of(
        lambda: (torch.ones(2)[torch.tensor([True, False])], torch.ones(()).item(), torch.ones(2)[0])
    )
    assert found == ["index", "_local_scalar_dense"]


@pytest.mark.parametrize(("name", "view"), PAIRS)
def test_what_is_on_a_device_stays_there(small_dataset: Dataset, name: str, view: str) -> None:
    """Stands in for a GPU: torch's meta device follows shapes without computing, and refuses to mix devices."""
    there = Snapshots.of(small_dataset, "train").to("meta")
    assert there.to("meta") is there
    batch = assemble(there.pick(torch.empty(64, dtype=torch.int32, device="meta")), View.parse(view))
    network = CloningConfig(model=name, observation=view).network().to("meta")
    (network(batch.observation) - batch.action).square().mean().backward()
    tensors = (*batch.observation, batch.action, batch.in_conflict, *(each.grad for each in network.parameters()))
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}
