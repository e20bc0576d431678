import pickle
from pathlib import Path

import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.flying.world import World
from skyclone.datasets import View
from skyclone.train import checkpoint, load_policy, networks
from skyclone.train.dagger.mixed_pilot import MixedPilotLoader, taught

WORLD = WorldConfig(aircraft=10)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network."""
    folder: Path = tmp_path_factory.mktemp("student")
    view = View.parse("ego:intruders=4")
    checkpoint.save(folder / "best", networks.make("pairwise", view, width=8, hidden=8), view, {"stage": "clone"})
    return folder / "best.safetensors"


@pytest.mark.parametrize(("beta", "count"), [(0.0, 0), (0.25, 2), (0.5, 5), (0.99, 10)])
def test_so_many_aircraft_are_flown_by_the_teacher(beta: float, count: int) -> None:
    assert int(taught(10, beta, 3).sum()) == count
    assert torch.equal(taught(10, beta, 3), taught(10, beta, 3))


def test_which_ones_depends_on_the_seed() -> None:
    assert len({tuple(taught(10, 0.5, seed).tolist()) for seed in range(10)}) > 1


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_each_aircraft_has_one_pilot(student: Path, beta: float) -> None:
    loader = MixedPilotLoader(str(student), WORLD, "mvp", beta, 1)
    pilot = pickle.loads(pickle.dumps(loader))("student-0")
    world = World(WORLD, 0, range(3))
    action = pilot(world.traffic, world.pairs)
    by_student = load_policy(student).pilot(world.traffic, world.pairs)
    by_teacher = TeacherPilot(teachers.parse("mvp", WORLD), WORLD)(world.traffic, world.pairs)
    is_taught = taught(10, beta, 1)
    assert torch.equal(action[:, is_taught], by_teacher[:, is_taught])
    assert torch.equal(action[:, ~is_taught], by_student[:, ~is_taught])
    assert not torch.equal(by_student, by_teacher)


def test_the_manifest_will_say_who_flew(student: Path) -> None:
    plain, mixed = (MixedPilotLoader(str(student), WORLD, "mvp", beta, 1)("x").fingerprint for beta in (0.0, 0.5))
    assert plain == load_policy(student).fingerprint
    assert mixed == f"{plain}+0.5 teacher"
