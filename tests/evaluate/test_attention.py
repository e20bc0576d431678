import json
import math

import pytest
import torch

from skyclone.collect.configuration import WorldConfig
from skyclone.collect.conflicts import find
from skyclone.collect.teachers import make, mvp_push
from skyclone.collect.world import World
from skyclone.datasets.observation import View, observe_all
from skyclone.evaluate.attention import Looks, analyse, look, somers_d, watch
from skyclone.train import Policy, networks


def _policy(view):
    return Policy(networks.make("pairwise", view, width=8, hidden=8), view)


def test_somers_d_by_hand():
    present = torch.tensor([[True, True, True, False]])
    push = torch.tensor([[0.0, 2.0, 1.0, 0.0]])
    weights = torch.tensor([[[0.1, 0.6, 0.3, 0.0], [0.6, 0.1, 0.3, 0.0], [0.3, 0.6, 0.1, 0.0]]])
    # same order; opposite order; of three pairs, two alike and one the other way round
    assert somers_d(weights, push, present)[0].tolist() == pytest.approx([1.0, -1.0, 1 / 3])


def test_one_conflict_among_many_can_still_agree_fully():
    push, weights = torch.zeros(1, 9), torch.full((1, 1, 9), 0.05)
    push[0, 3], weights[0, 0, 3] = 1.0, 0.6
    assert somers_d(weights, push, torch.ones(1, 9, dtype=torch.bool)).item() == 1.0
    assert math.isnan(somers_d(weights, torch.zeros(1, 9), torch.ones(1, 9, dtype=torch.bool)).item())


def test_analysis_by_hand():
    # Two rows, one head, three places. Row 1 sees two intruders, row 2 one.
    looks = Looks(
        weights=torch.tensor([[[0.75, 0.25, 0.0]], [[1.0, 0.0, 0.0]]]),
        is_present=torch.tensor([[True, True, False], [True, False, False]]),
        distance_m=torch.tensor([[120.0, 130.0, 0.0], [310.0, 0.0, 0.0]]),
        tcpa_s=torch.tensor([[3.0, 12.0, 0.0], [12.0, 0.0, 0.0]]),
        dcpa_m=torch.tensor([[50.0, 300.0, 0.0], [20.0, 0.0, 0.0]]),
        push_mps=torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    )
    found = analyse(looks, 100.0)
    assert (found.rows, found.rows_in_conflict) == (2, 1)
    assert found.sharpness == [0.75]
    assert found.uniform_sharpness == 0.5
    assert found.entropy == pytest.approx([-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)])
    assert found.agreement == found.top_push == [1.0]
    assert found.nearest_agreement == found.nearest_top_push == 1.0
    distance = found.by_distance
    assert distance.count[2] == 2  # both between 100 and 150 m
    assert distance.weight[0][2] == 0.5
    assert distance.uniform[2] == 0.5
    assert distance.weight[0][6] == 1.0
    assert distance.weight[0][0] is None
    tcpa = found.by_tcpa
    assert sum(tcpa.count) == 2  # the intruder that passes at 300 m is left out
    assert tcpa.weight[0][4] == 0.75
    assert tcpa.weight[0][6] == 1.0


@pytest.mark.parametrize("name", ["seed", "ego", "cpa"])
def test_the_push_is_mvp_s_in_every_view(name):
    config, view = WorldConfig(aircraft=12), View(name)
    world = World(config, 0, range(4))
    seen = look(_policy(view), observe_all(world.traffic, view).flatten(), config)
    teacher = make("mvp", config)
    conflicts = find(world.pairs, teacher.protected_zone_m, teacher.lookahead_s)
    pushes = torch.hypot(*mvp_push(conflicts, teacher.protected_zone_m))
    assert len(pushes) > 0
    assert (seen.push_mps > 0).sum() == len(pushes)
    assert seen.push_mps.sum().item() == pytest.approx(pushes.sum().item(), rel=1e-3)
    nearest = world.pairs.nearest_m().view(-1)
    assert seen.distance_m[:, 0] == pytest.approx(nearest, rel=1e-4)


def test_watching_a_policy_fly():
    config = WorldConfig(aircraft=8, max_steps=60)
    found = watch(_policy(View("ego", intruders=3)), config, 0, range(3))
    assert found is not None
    assert len(found.sharpness) == len(found.agreement) == len(found.by_distance.weight) == 3
    assert all(1 / 3 <= value <= 1 for value in found.sharpness)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["rows"] == found.rows > 0


def test_a_network_without_attention_looks_at_nothing():
    view = View("ego", intruders=3)
    policy = Policy(networks.make("deepsets", view, width=8, hidden=8), view)
    assert watch(policy, WorldConfig(aircraft=8, max_steps=60), 0, range(3)) is None


def test_alone_there_is_nothing_to_look_at():
    assert watch(_policy(View()), WorldConfig(aircraft=1, max_steps=5), 0, range(2)) is None
