import os
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skyclone.datasets.errors import CheckpointError
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.cloning.heldout import HeldOut
from skyclone.train.cloning.iteration import Iteration
from skyclone.train.cloning.monitor import Monitor, is_power_of_two, read_metrics
from skyclone.train.runs.stopwatch import Stopwatch


def iteration(number: int) -> Iteration:
    return Iteration(
        iteration=number,
        batches=100 * number,
        train_loss=0.0312,
        heldout=HeldOut(0.0298, 0.11, 0.009, 0.61, 0.1, 0.07, 5),
        learning_rate=1e-3,
        samples_per_second=61_000.4,
        gradient_norm=0.2,
        weight_norms={"W_q": [1.0, 2.0, 3.0]},
        gradient_norms={"W_q": [0.1, 0.2, 0.3]},
        seconds=1.5,
    )


def test_the_line_a_person_reads() -> None:
    assert iteration(3).line(100) == (
        "Stage 1 - Iter 3/100 | Imitation Loss: 0.0312 | held-out 0.0298 (conflict 0.11, free 0.009) | "
        "sharpness 0.61 | 61,000 samples/s"
    )
    bare = HeldOut(0.5, None, 0.5, None, None, 0.07, 5)
    assert "(conflict none, free 0.5) | sharpness none" in Iteration(
        1, 1, 0.5, bare, 1e-3, 5.0, 0.1, {}, {}, 1.0
    ).line(1)


def test_figures_are_kept_and_dropped_past_the_step_resumed(tmp_path: Path) -> None:
    with Monitor(tmp_path) as monitor:
        for number in (1, 2, 3):
            monitor.add(iteration(number))
    assert read_metrics(tmp_path / "metrics.jsonl") == [iteration(1), iteration(2), iteration(3)]
    with Monitor(tmp_path, batches=250) as monitor:
        assert monitor.history == [iteration(1), iteration(2)]
        monitor.add(iteration(3))
    assert read_metrics(tmp_path / "metrics.jsonl") == [iteration(1), iteration(2), iteration(3)]
    assert len(os.listdir(tmp_path / "tensorboard")) == 2


def test_a_last_line_that_was_cut_is_left_out_and_an_edited_one_is_an_error(tmp_path: Path) -> None:
    with Monitor(tmp_path) as monitor:
        monitor.add(iteration(1))
        monitor.add(iteration(2))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    assert read_metrics(path) == [iteration(1)]
    path.write_text('{"iteration": 1}\n')
    with pytest.raises(
        CheckpointError, match=r"metrics.jsonl is damaged .*Delete it, or train into another folder"
    ):
        read_metrics(path)


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"images": 0, "histograms": 0, "scalars": 0}
    )
    events.Reload()
    return events


def test_tensorboard_holds_the_figures(tmp_path: Path) -> None:
    with Monitor(tmp_path) as monitor:
        monitor.add(iteration(1))
    tags = set(board(tmp_path).Tags()["scalars"])
    assert {"loss/train", "loss/heldout_conflict", "attention/sharpness", "weight_norm/W_q/head_2"} <= tags
    assert board(tmp_path).Scalars("loss/heldout")[0].value == pytest.approx(0.0298)


def test_tensorboard_holds_the_weights_and_the_attention(tmp_path: Path) -> None:
    view = View.parse("ego:intruders=3")
    network = networks.make("pairwise", view, width=8, hidden=8)
    with Monitor(tmp_path) as monitor:
        for number in (1, 2, 3, 4, 5):
            monitor.add(iteration(number), network, view, is_last=number == 5)
    events = board(tmp_path)
    assert set(events.Tags()["histograms"]) == {f"weights/{name}" for name, _ in network.named_parameters()}
    histogram = events.Histograms("weights/pair.weight")
    assert [each.step for each in histogram] == [100, 200, 300, 400, 500]
    values = network.state_dict()["pair.weight"].numpy()
    assert histogram[0].histogram_value.num == values.size
    assert histogram[0].histogram_value.sum == pytest.approx(np.float64(values).sum(), abs=1e-5)
    pictures = events.Images("attention/scene")
    assert [each.step for each in pictures] == [100, 200, 400, 500], "at 1, 2, 4, ... and the last"
    assert (pictures[0].width, pictures[0].height) == (864, 296)


def test_a_run_that_goes_on_at_once_loses_no_point(tmp_path: Path) -> None:
    for batches in (0, 150, 250):
        with Monitor(tmp_path, batches) as monitor:
            for number in range(batches // 100 + 1, 5):
                monitor.add(iteration(number))
    assert [each.step for each in board(tmp_path).Scalars("loss/train")] == [100, 200, 300, 400]
    seconds = [path.name.split(".")[3] for path in (tmp_path / "tensorboard").iterdir()]
    assert len(set(seconds)) == 3, "the files' names are in the order they were written in"


def test_powers_of_two() -> None:
    assert [number for number in range(1, 20) if is_power_of_two(number)] == [1, 2, 4, 8, 16]


def test_stopwatch() -> None:
    clock = Stopwatch({"loading": 3.0})
    with clock.measure("saving"):
        pass
    assert list(clock.waiting("loading", [1, 2])) == [1, 2]
    assert clock.seconds["loading"] > 3.0
    assert clock.line() == "loading 3.0 s (100%), saving 0.0 s (0%)"
