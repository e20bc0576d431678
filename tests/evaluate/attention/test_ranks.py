import math

import pytest
import torch

from skyclone.evaluate.attention.ranks import somers_d


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
