from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.cloning.tensorboard import is_power_of_two, show_network


@pytest.mark.usefixtures("plots_drawn")
def test_tensorboard_holds_the_weights_and_the_attention(tmp_path: Path) -> None:
    view = View.parse("ego:intruders=3")
    network = networks.make("pairwise", view, width=8, hidden=8)
    with SummaryWriter(str(tmp_path)) as board:
        for number in (1, 2, 3):
            show_network(board, network, view, 100 * number, draws=number != 2)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "histograms": 0})
    events.Reload()
    assert set(events.Tags()["histograms"]) == {f"weights/{name}" for name, _ in network.named_parameters()}
    histogram = events.Histograms("weights/pair.weight")
    assert [each.step for each in histogram] == [100, 200, 300]
    values = network.state_dict()["pair.weight"].numpy()
    assert histogram[0].histogram_value.num == values.size
    assert histogram[0].histogram_value.sum == pytest.approx(np.float64(values).sum(), abs=1e-5)
    pictures = events.Images("attention/scene")
    assert [each.step for each in pictures] == [100, 300]
    assert (pictures[0].width, pictures[0].height) == (864, 296)


def test_powers_of_two() -> None:
    assert [number for number in range(1, 20) if is_power_of_two(number)] == [1, 2, 4, 8, 16]
