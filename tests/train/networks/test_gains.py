"""What is small in an observation, and matters, is drawn with larger weights."""

import pytest
import torch

from skyclone.datasets.traffic.view import FEATURE_NAMES, View
from skyclone.train import networks
from skyclone.train.networks.gains import LENGTH_GAIN, SPEED_GAIN, feature_gains

VIEWS = ("seed", "ego:intruders=4", "cpa:intruders=4")


def test_gains_of_each_feature() -> None:
    gains = {
        (view, name): gain
        for view in ("seed", "ego", "cpa")
        for name, gain in zip(FEATURE_NAMES[view][1], feature_gains(View(view, intruders=4), 5.0, 2.0).tolist())
    }
    assert set(gains.values()) == {1.0, 2.0, 5.0}
    for (_, name), gain in gains.items():
        is_speed = "velocity" in name or "speed" in name
        assert gain == (2.0 if is_speed else 1.0 if name in ("tcpa", "in_conflict") else 5.0), name


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("attention-additive:heads=20", ("W_k", "W_v")),
        ("attention-dot:heads=20", ("W_k", "W_v")),
        ("attention-context:heads=20", ("W_k", "W_v")),
        ("lstm:state_size=200", ("reader.weight_ih_l0",)),
    ],
)
def test_what_intruders_are_read_with_is_drawn_so(name: str, weights: tuple[str, ...], view: str) -> None:
    """As torch's Linear draws, uniformly within a bound, times the gain of the feature; nothing else is."""
    seen = View.parse(view)
    parsed, parameters = networks.parse(name)
    drawn = networks.make(parsed, seen, seed=3, **parameters).state_dict()
    gains, features = feature_gains(seen, LENGTH_GAIN, SPEED_GAIN), seen.intruder_features
    for each in weights:
        largest = drawn[each].flatten(0, -2).abs().amax(0)
        own, others = largest[:features] / gains, largest[features:]
        if name.startswith("lstm"):
            bound = torch.tensor(float(parameters["state_size"]) ** -0.5)
        else:
            bound = torch.tensor(len(largest) ** -0.5)
        for found in (own, others):
            assert ((found > 0.9 * bound) & (found <= bound * (1 + 1e-5))).all(), each
    if "W_q" in drawn:
        assert drawn["W_q"].abs().max() <= seen.ownship_features**-0.5
