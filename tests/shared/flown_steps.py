"""Fixtures: hand-made traffic with waypoints, and hand-made steps of it."""

from collections.abc import Callable, Sequence

import pytest
import torch

from skyclone.collect.flying.flight import Step
from skyclone.collect.flying.world import StepResult
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

Row = tuple[float, float, float, float, float, float]
"""East, north, track (rad), speed, waypoint east, waypoint north of one aircraft."""


@pytest.fixture(scope="session")
def traffic_of() -> Callable[[Sequence[Row]], Traffic]:
    """Return a function that makes (1, N) traffic out of rows."""

    def make(rows: Sequence[Row]) -> Traffic:
        columns = torch.tensor(rows, dtype=torch.float32).T.unsqueeze(1)  # (6, 1, N)
        return Traffic(*columns.unbind(0), torch.ones((1, len(rows)), dtype=torch.bool))

    return make


@pytest.fixture(scope="session")
def step_of() -> Callable[..., Step]:
    """Return a function that makes the step of one episode out of its traffic."""

    def make(traffic: Traffic, action: object = None, outcome: Sequence[int] | None = None) -> Step:
        shape = traffic.east_m.shape
        flown = torch.zeros((*shape, 2)) if action is None else torch.tensor([action], dtype=torch.float32)
        codes = torch.tensor([outcome or [0] * shape[1]], dtype=torch.int8)
        nothing = torch.zeros(shape)
        result = StepResult(nothing, codes, codes > 0, codes > 2)
        return Step(torch.tensor([0]), torch.tensor([0]), traffic, pairs_of(traffic), flown, result)

    return make
