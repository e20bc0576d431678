import json
import math

import pytest
import torch

from skyclone.collect.airspace.conflicts import find
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.collect.teachers.mvp import mvp_push
from skyclone.collect.teachers.registry import make
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.attention.attention import analyse, compare_heads, watch
from skyclone.evaluate.attention.looks import Looks, look
from skyclone.train import Policy, networks
from skyclone.train.runs.confidence_intervals import resample

ONE = resample(1, 100, 0)
"""Resamples of a single scenario."""
TIGHT = WorldConfig(aircraft=4, max_steps=60, sector_radius_m=300.0, sector_area_m2=1.4e5)
"""A world that is soon left."""


def _policy(view):
    network = networks.make("pairwise", view, width=8, hidden=8)
    with torch.no_grad():
        network.action[-1].weight.mul_(5)  # an untrained network hardly acts on what it sees
    return Policy(network, view)


def test_analysis_by_hand():
    # Two rows, one head, three places. Row 1 sees two intruders, row 2 one.
    looks = Looks(
        weights=torch.tensor([[[0.75, 0.25, 0.0]], [[1.0, 0.0, 0.0]]]),
        is_present=torch.tensor([[True, True, False], [True, False, False]]),
        distance_m=torch.tensor([[120.0, 130.0, 0.0], [310.0, 0.0, 0.0]]),
        tcpa_s=torch.tensor([[3.0, 12.0, 0.0], [12.0, 0.0, 0.0]]),
        dcpa_m=torch.tensor([[50.0, 300.0, 0.0], [20.0, 0.0, 0.0]]),
        push_mps=torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        scenario=torch.tensor([0, 0]),
    )
    found = analyse(looks, WorldConfig(protected_zone_m=100.0, lookahead_s=15.0), ONE)
    assert (found.rows, found.rows_in_conflict) == (2, 1)
    assert found.sharpness[0].value == 0.75
    assert found.uniform_sharpness == 0.5
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert found.entropy[0].value == pytest.approx(entropy)
    assert found.agreement[0].value == found.top_push[0].value == 1.0
    assert found.nearest_agreement.value == found.nearest_top_push.value == 1.0
    assert (found.padded, found.padding_weight, found.leaks) == (3, 0.0, False)
    assert found.pairs == []
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
    dcpa = found.by_dcpa
    assert sum(dcpa.count) == 3  # all three pass within 15 s
    assert [dcpa.weight[0][place] for place in (0, 2, 12)] == [1.0, 0.75, 0.25]  # at 20, 50 and 300 m


def test_who_passes_late_or_has_passed_stands_in_no_picture_of_dcpa():
    looks = Looks(
        weights=torch.tensor([[[0.5, 0.3, 0.2]]]),
        is_present=torch.ones(1, 3, dtype=torch.bool),
        distance_m=torch.full((1, 3), 200.0),
        tcpa_s=torch.tensor([[-1.0, 16.0, 14.0]]),
        dcpa_m=torch.full((1, 3), 60.0),
        push_mps=torch.zeros(1, 3),
        scenario=torch.tensor([0]),
    )
    found = analyse(looks, WorldConfig(lookahead_s=15.0), ONE).by_dcpa
    assert sum(found.count) == found.count[2] == 1
    assert found.weight[0][2] == pytest.approx(0.2)


def _looks(weights):
    """Rows (M, H, K) of one scenario each, all intruders present; nothing is known but the weights."""
    rows, _, count = weights.shape
    nothing = torch.zeros(rows, count)
    present = torch.ones(rows, count, dtype=torch.bool)
    return Looks(weights, present, nothing, nothing, nothing, nothing, torch.arange(rows))


def test_heads_compared_by_hand():
    even, odd = [0.75, 0.25, 0.0], [0.25, 0.75, 0.0]
    looks = _looks(torch.tensor([[even, even, odd, [0.0, 0.0, 1.0]]], dtype=torch.float64))
    same, turned, apart = compare_heads(looks, ONE)[:3]
    assert (same.heads, turned.heads, apart.heads) == ((1, 2), (1, 3), (1, 4))
    assert (same.distance.value, same.rank_correlation.value, same.other_top.value) == (0.0, 1.0, 0.0)
    # mixture (1/2, 1/2) has 1 bit, each head h(1/4) = 0.811278 bits: divergence 0.188722
    assert turned.distance.value == pytest.approx(math.sqrt(0.188722), abs=1e-6)
    assert turned.rank_correlation.value == pytest.approx(1 / 3)  # one pair of three the other way round
    assert turned.other_top.value == 1.0
    assert apart.distance.value == 1.0


def test_figures_of_rows_have_intervals_over_scenarios():
    # Heads that agree in all rows of scenario 0 and in none of scenario 1: the mean is not sure at all.
    alike, unlike = [[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.1, 0.9]]
    looks = _looks(torch.tensor([alike] * 50 + [unlike] * 50, dtype=torch.float64))
    looks = looks._replace(scenario=torch.arange(100) // 50)
    other_top = compare_heads(looks, resample(2, 500, 0))[0].other_top
    assert (other_top.value, other_top.low, other_top.high) == (0.5, 0.0, 1.0)


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
    assert all(1 / 3 <= value.value <= 1 for value in found.sharpness)
    assert found.masking is not None
    assert 0 < found.masking.rows <= found.masking.masked <= found.rows
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["rows"] == found.rows > 0
    assert set(data["agreement"][0]) == {"value", "low", "high"}
    assert [pair["heads"] for pair in data["pairs"]] == [[1, 2], [1, 3], [2, 3]]


def _straight(network):
    """Have a network fly nearly straight, so that some aircraft arrive and leave their places empty."""
    with torch.no_grad():
        network.action[-1].weight.mul_(0.02)
        network.action[-1].bias.zero_()
    return network


WITH_ATTENTION = [name for name in networks.NAMES if name not in ("lstm", "deepsets", "mlp")]


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_no_network_looks_at_padding(name):
    view = View("ego", intruders=3)
    found = watch(Policy(_straight(networks.make(name, view, hidden=8)), view), TIGHT, 0, range(4))
    assert found is not None
    assert found.padded > 0
    assert found.padding_weight == 0.0  # exactly


class _Leaking(Policy):
    """A policy that lends a thousandth of its attention to every place, taken or not."""

    def attention(self, observation, mask=None):
        return super().attention(observation, mask) + 0.001


def test_a_network_that_looks_at_padding_is_found_out():
    view = View("ego", intruders=3)
    policy = _Leaking(_straight(networks.make("pairwise", view, width=8, hidden=8)), view)
    found = watch(policy, TIGHT, 0, range(4))
    assert found.leaks
    assert found.padding_weight == pytest.approx(0.001)


def test_a_network_without_attention_looks_at_nothing():
    view = View("ego", intruders=3)
    policy = Policy(networks.make("deepsets", view, width=8, hidden=8), view)
    assert watch(policy, WorldConfig(aircraft=8, max_steps=60), 0, range(3)) is None


def test_alone_there_is_nothing_to_look_at():
    assert watch(_policy(View()), WorldConfig(aircraft=1, max_steps=5), 0, range(2)) is None
