import math

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.attention import masking
from skyclone.evaluate.attention.masking import Masked, analyse, mask_each, sample
from skyclone.train.runs.confidence_intervals import resample

CONFIG = WorldConfig()
ONE = resample(1, 100, 0)


class _Sum:
    """A policy one can see through: each intruder in view adds its second feature (east) to one of the actions."""

    view = View()

    def __init__(self, turns=False):
        self.turns = turns

    def act(self, observation):
        total = (observation.intruders[..., 1] * observation.is_present).sum(-1)
        nothing = torch.zeros_like(total)
        return torch.stack((total, nothing) if self.turns else (nothing, total), -1).clamp(-1, 1)


def _observation(pulls, present=None, speed_mps=9.0):
    """Rows (M, K) of intruders with these pulls, their distances growing with their number."""
    pulls = torch.tensor(pulls)
    rows, count = pulls.shape
    ownship = torch.zeros(rows, 7)
    ownship[:, 2] = speed_mps / View().speed_mps
    intruders = torch.zeros(rows, count, 5)
    intruders[..., 0] = torch.arange(count) + 1.0
    intruders[..., 1] = pulls
    is_present = torch.ones(rows, count, dtype=torch.bool) if present is None else torch.tensor(present)
    return Observation(ownship, intruders, is_present)


def test_a_masked_intruder_is_missed_by_as_much_as_it_added():
    observation = _observation([[0.1, 0.4, -0.2], [0.3, 0.5, 0.1]], [[True, True, True], [True, False, True]])
    change = mask_each(_Sum(), observation, CONFIG)
    expected = CONFIG.speed_change_mps * torch.tensor([[0.1, 0.4, 0.2], [0.3, 0.0, 0.1]])
    assert change == pytest.approx(expected, abs=1e-5)
    assert observation.is_present.sum() == 5  # it was given back as it was


def test_a_turn_counts_by_the_chord_and_the_speed():
    change = mask_each(_Sum(turns=True), _observation([[0.2, 0.6]]), CONFIG)
    chords = [2 * 9 * math.sin(pull * CONFIG.turn_rad / 2) for pull in (0.2, 0.6)]
    assert change[0].tolist() == pytest.approx(chords, rel=1e-5)


def test_what_the_aircraft_cannot_fly_changes_nothing():
    # At 17.9 of 18 m/s, asking for 1 or for 0.5 of the speed change comes to the same.
    change = mask_each(_Sum(), _observation([[0.5, 0.5]], speed_mps=17.9), CONFIG)
    assert change[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-5)


def _masked(change, weights, in_conflict=None, present=None):
    """Rows of one scenario; distances grow with the intruders' number."""
    change = torch.tensor(change)
    rows, count = change.shape
    return Masked(
        change,
        torch.tensor(weights),
        torch.ones(rows, count, dtype=torch.bool) if present is None else torch.tensor(present),
        (torch.arange(count) + 1.0).expand(rows, count),
        torch.tensor(in_conflict or [False] * rows),
        torch.zeros(rows, dtype=torch.int64),
    )


def test_analysis_by_hand():
    # Row 1: head 1 looks at the one that matters most, head 2 at the one that matters least. Row 2: both are right.
    # In row 3 nobody matters, in row 4 there is a single intruder: both are left out.
    found = analyse(
        _masked(
            [[0.2, 1.0, 0.0], [0.9, 0.3, 0.3], [0.05, 0.0, 0.0], [5.0, 0.0, 0.0]],
            [
                [[0.3, 0.6, 0.1], [0.2, 0.1, 0.7]],
                [[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]],
                [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8]],
                [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
            ],
            present=[[True] * 3, [True] * 3, [True] * 3, [True, False, False]],
        ),
        ONE,
    )
    assert (found.masked, found.rows) == (3, 2)
    assert found.chance == pytest.approx(1 / 3)
    assert found.most_mps.value == pytest.approx(0.95)
    first, second = found.heads
    assert (first.largest.value, second.largest.value, found.nearest.largest.value) == (1.0, 0.5, 0.5)
    assert first.highest_mps.value == pytest.approx((1.0 + 0.9) / 2)
    assert first.other_mps.value == pytest.approx(((0.2 + 0.0) / 2 + 0.3) / 2)
    assert first.lowest_mps.value == pytest.approx((0.0 + 0.3) / 2)
    assert second.highest_mps.value == pytest.approx((0.0 + 0.9) / 2)
    assert first.agreement.value == pytest.approx(1.0)  # equal changes are not ordered
    assert second.agreement.value == pytest.approx((-1 + 1) / 2)  # none of three pairs in order, then both of two
    assert found.mean.largest.value == 0.5  # (0.25, 0.35, 0.4): the heads' mean looks at the wrong one in row 1
    assert math.isnan(first.largest.low)  # one scenario says nothing about others


def test_attention_on_the_wrong_intruder_is_seen_to_be_wrong():
    observation = _observation([[0.6, 0.1, 0.2]] * 4)
    change = mask_each(_Sum(), observation, CONFIG)
    wrong = torch.tensor([0.1, 0.7, 0.2]).expand(4, 1, 3)  # the less it adds, the more it is looked at
    scenario = torch.tensor([0, 0, 1, 1])
    masked = Masked(
        change, wrong, observation.is_present, observation.intruders[..., 0], torch.ones(4) > 0, scenario
    )
    found = analyse(masked, resample(2, 100, 0))
    head, nearest = found.heads[0], found.nearest
    assert head.largest == (0.0, 0.0, 0.0)
    assert head.agreement == (-1.0, -1.0, -1.0)
    assert head.highest_mps.value == pytest.approx(0.1 * CONFIG.speed_change_mps, rel=1e-4)
    assert head.lowest_mps.value == found.most_mps.value == pytest.approx(0.6 * CONFIG.speed_change_mps, rel=1e-4)
    assert nearest.largest == (1.0, 1.0, 1.0)


def test_rows_in_conflict_are_taken_apart():
    masked = _masked([[1.0, 0.0], [0.0, 1.0]], [[[0.9, 0.1]], [[0.9, 0.1]]], in_conflict=[True, False])
    assert analyse(masked, ONE).heads[0].largest.value == 0.5
    assert analyse(masked.only(masked.in_conflict), ONE).heads[0].largest.value == 1.0


def test_nobody_matters_to_a_policy_that_flies_straight():
    assert analyse(_masked([[0.09, 0.0]], [[[0.9, 0.1]]]), ONE) is None


def test_so_many_rows_are_drawn_that_it_takes_seconds(monkeypatch):
    present = torch.ones(100, 5, dtype=torch.bool)
    present[::2, 1:] = False  # half of the rows have one intruder
    assert sample(present, 0).tolist() == list(range(1, 100, 2))
    monkeypatch.setattr(masking, "PAIRS", 10 * 25)
    drawn = sample(present, 0)
    assert len(drawn.unique()) == 10
    assert (drawn % 2 == 1).all()
    assert drawn.tolist() == sorted(drawn.tolist()) == sample(present, 0).tolist() != sample(present, 1).tolist()
