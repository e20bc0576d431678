"""PPO in one of its processes, and in two that are threads here: `test_team.py` starts real ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_runs import WORLD
from processes_in_threads import in_threads

from skyclone.train import checkpoint
from skyclone.train.finetuning.config import FinetuneConfig, PPOConfig
from skyclone.train.finetuning.methods import Learned, Material, TuningProgress
from skyclone.train.finetuning.ppo_method import PPOMethod
from skyclone.train.finetuning.rollout import TRAINING_EPISODES
from skyclone.train.runs import gate
from skyclone.train.runs.processes import Processes
from skyclone.train.runs.stopwatch import Stopwatch

CONFIG = FinetuneConfig(
    steps=2000,
    envs=5,
    horizon=8,
    warmup=1,
    gate_scenarios=5,
    aircraft=(5, 3),
    anchor=0.1,
    ppo=PPOConfig(minibatch=64, epochs=2, average=0.9),
)


@pytest.fixture
def material(clone: Path) -> Material:
    """What both processes are made of."""
    loaded = checkpoint.load(clone)
    worlds = [replace(WORLD, reward=CONFIG.reward, aircraft=aircraft, max_steps=30) for aircraft in CONFIG.aircraft]
    return Material(CONFIG, loaded.network, loaded.view, loaded.view, worlds, torch.device("cpu"))


def two(material: Material) -> list[PPOMethod]:
    return [PPOMethod(material, Stopwatch(), Processes(rank, 2)) for rank in range(2)]


def learn(methods: list[PPOMethod], first: int, iterations: int) -> list[list[Learned]]:
    """Let two processes learn together; return what each iteration comes to, in each."""

    def work(processes: Processes) -> list[Learned]:
        method = methods[processes.rank]
        method.processes = method.update.processes = processes
        return [method.learn(TuningProgress(number)) for number in range(first, first + iterations)]

    return in_threads(2, work)


def state(methods: list[PPOMethod]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All that is needed to continue, of both; copied, as if it had been written and read."""
    (tensors, one), (others, other) = (method.saved() for method in methods)
    own = {name: each for name, each in others.items() if name.startswith("process1.")}
    return {name: each.clone() for name, each in {**tensors, **own}.items()}, {
        "crews": one["crews"] + other["crews"]
    }


def test_processes_share_the_episodes_and_fly_none_twice(material: Material) -> None:
    one, other = two(material)
    assert [len(crew.world.episodes) for crew in one.crews] == [3, 3]
    assert [len(crew.world.episodes) for crew in other.crews] == [2, 2]
    numbers = [number for method in (one, other) for crew in method.crews for number in crew.world.episodes]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == TRAINING_EPISODES
    assert max(numbers) < gate.GATE_EPISODES
    assert not torch.equal(one.generator.get_state(), other.generator.get_state()), "each has noise of its own"


def test_processes_hold_the_same_weights_and_come_to_the_same_figures(material: Material) -> None:
    methods = two(material)
    ones, others = learn(methods, 0, 4)
    assert ones == others
    assert [each.is_warmup for each in ones] == [True, False, False, False]
    for name in ("actor", "critic", "average"):
        pairs = zip(*(method.modules[name].state_dict().values() for method in methods), strict=True)
        assert all(torch.equal(mine, yours) for mine, yours in pairs)
    flown = [sum(crew.steps for crew in method.crews) for method in methods]
    assert flown == [4 * CONFIG.horizon] * 2
    assert ones[0].rows == 2 * 5 * CONFIG.horizon, "of each process's episodes one begins at once"
    assert methods[0].critic.scale != 1


def test_restored_they_go_on_bit_for_bit(material: Material) -> None:
    methods = two(material)
    learn(methods, 0, 3)
    tensors, description = state(methods)
    expected = learn(methods, 3, 3)
    again = two(material)
    for method in again:  # an optimizer keeps what it is given: each reads the file by itself
        method.restore({name: each.clone() for name, each in tensors.items()}, description)
    assert learn(again, 3, 3) == expected
    for (name, mine), yours in zip(state(methods)[0].items(), state(again)[0].values(), strict=True):
        assert torch.equal(mine, yours), name


def test_alone_it_flies_all(material: Material) -> None:
    alone = PPOMethod(material, Stopwatch())
    assert [len(crew.world.episodes) for crew in alone.crews] == [5, 5]
    learned = [alone.learn(TuningProgress(number)) for number in range(3)]
    again = PPOMethod(material, Stopwatch())
    assert [again.learn(TuningProgress(number)) for number in range(3)] == learned


@pytest.mark.parametrize("is_parent", [True, False])
def test_the_gate_is_shared_and_put_together_again(material: Material, is_parent: bool) -> None:
    alone, methods = PPOMethod(material, Stopwatch()), two(material)
    for method in (alone, *methods):
        with torch.no_grad():  # the policy is no longer its parent
            for weight in method.network.parameters():
                weight.add_(0.1)
    whole = alone.fly_gate(is_parent)
    assert whole.aircraft.tolist() == [5, 5, 5, 3, 3]
    parts = zip(*(method.own_gate(is_parent) for method in methods), strict=True)
    for one, other in zip(gate.join([gate.interleave(each) for each in parts]), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2)
    other_pilot = alone.fly_gate(not is_parent)
    assert not torch.equal(other_pilot.path, whole.path)
