import io

import matplotlib.image
import numpy as np
import pytest
import torch

from skyclone.collect.airspace.conflicts import detect
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.cloning.heldout import HeldOut
from skyclone.train.cloning.iteration import Iteration
from skyclone.train.cloning.plots import SCENE, attention, losses, scene_weights
from skyclone.train.networks.network import Network, Output, Parameters


def iteration(number: int, mse: float, conflict: float | None = 0.1, sharpness: float | None = 0.5) -> Iteration:
    heldout = HeldOut(mse, conflict, 0.01, sharpness, 0.1, 0.07, 5)
    return Iteration(number, 10 * number, mse, heldout, 1e-3, 5.0, 0.1, {}, {}, 1.0)


def test_the_scene_is_what_it_says() -> None:
    """The first four intruders are in conflict with the ownship, the others are not."""
    east, north, track, speed = torch.tensor(SCENE).T.unsqueeze(1)
    there = torch.ones_like(east) > 0
    traffic = Traffic(east, north, torch.deg2rad(track), speed, torch.zeros_like(east), east + 600, there)
    in_conflict = detect(pairs_of(traffic), 100.0, 15.0)[0, 0, 1:]
    assert in_conflict.tolist() == [True] * 4 + [False] * 4


class Slanted(Network):
    """Two heads: one looks at the nearest intruder only, the other at all of them alike."""

    name = "slanted"

    def __init__(self) -> None:
        super().__init__(View(), Parameters())
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        assert not self.training
        count = observation.is_present.shape[1]
        nearest = torch.nn.functional.one_hot(torch.tensor(0), count).float()
        return torch.zeros(1, 2), torch.stack((nearest, torch.full((count,), 1 / count))).unsqueeze(0)


@pytest.mark.parametrize("view", ["seed", "ego:intruders=3"])
def test_weights_belong_to_their_intruders(view: str) -> None:
    network = Slanted().train()
    weights = scene_weights(network, View.parse(view))
    assert network.training, "it is left as it was"
    distance = np.hypot(*np.array(SCENE)[1:, :2].T)
    assert weights[0].argmax() == distance.argmin()
    assert weights[0].sum() == 1
    seen = 8 if view == "seed" else 3
    assert sorted(np.flatnonzero(weights[1].numpy())) == sorted(distance.argsort()[:seen])
    assert weights[1].sum() == pytest.approx(1)


def test_the_picture_shows_the_weights() -> None:
    picture = attention(Slanted().eval(), View())
    assert picture is not None
    assert picture.dtype == np.uint8
    _, width, channels = picture.shape
    assert channels == 3
    red = (picture.astype(int) - np.array([0xEE, 0x66, 0x77]) == 0).all(-1)
    one, all_alike = red[:, : width // 2], red[:, width // 2 :]
    assert one.sum() > 100
    assert np.ptp(np.nonzero(one)[1]) < width / 6, "one thick line"
    assert np.ptp(np.nonzero(all_alike)[1]) > width / 5, "lines to all sides"
    assert (attention(Slanted().eval(), View()) == picture).all()


@pytest.mark.parametrize("name", networks.NAMES)
def test_every_network_can_be_drawn(name: str) -> None:
    view = View.parse("ego:intruders=4")
    network = networks.make(name, view)
    picture = attention(network, view)
    assert (picture is None) == (scene_weights(network, view).shape[0] == 0)


def test_a_network_without_attention_has_no_picture() -> None:
    class Blind(Slanted):
        def forward(self, observation: Observation, with_attention: bool = False) -> Output:
            return torch.zeros(1, 2), torch.zeros(1, 0, observation.is_present.shape[1])

    assert attention(Blind(), View()) is None


def test_the_loss_plot_has_its_series() -> None:
    history = [iteration(1, 0.1), iteration(2, 0.05), iteration(3, 0.02)]
    svg = losses(history, "svg").decode()
    for words in ("training", "held out, all", "held out, in conflict", "held out, free", "attention sharpness"):
        assert words in svg
    assert losses(history, "svg").decode() == svg, "the same bytes for the same run"
    picture = matplotlib.image.imread(io.BytesIO(losses(history)))
    assert picture.shape[:2] == (672, 840)
    assert picture[..., :3].std() > 0.05


def test_the_loss_plot_leaves_out_what_there_is_none_of() -> None:
    svg = losses([iteration(1, 0.1, None, None)], "svg").decode()
    assert "in conflict" not in svg
    assert "sharpness" not in svg
    gap = losses([iteration(1, 0.1, None), iteration(2, 0.1, 0.2), iteration(3, 0.1, 0.3)], "svg").decode()
    assert "in conflict" in gap
