import json
import os
import threading
from pathlib import Path

import pytest
import torch
from cloning_runs import iteration, read_metrics
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skyclone.train.cloning.iteration import Iteration
from skyclone.train.runs.metrics_log import MetricsLog, packed, read_log, unpacked


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events


def test_the_log_holds_what_was_added_and_is_written_anew_from_the_history(tmp_path: Path) -> None:
    history: list[Iteration] = []
    with MetricsLog(tmp_path, history, 0) as log:
        for number in (1, 2, 3):
            log.add(iteration(number))
    assert history == read_metrics(tmp_path) == [iteration(1), iteration(2), iteration(3)]
    (tmp_path / "metrics.jsonl").write_text("rubbish")
    with MetricsLog(tmp_path, history[:2], 250) as log:
        assert read_metrics(tmp_path) == history[:2]
        log.add(iteration(3))
    assert read_metrics(tmp_path) == history
    assert len(os.listdir(tmp_path / "tensorboard")) == 2


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    path, good = tmp_path / "metrics.jsonl", json.dumps(iteration(2).to_json())
    path.write_text('{"iteration": 1}\nrubbish\n' + good + "\n[" * 2 + "\n" + good[:-20])
    assert read_log(path, Iteration.from_json) == [iteration(2)]
    assert read_log(tmp_path / "nowhere", Iteration.from_json) == []


def test_a_history_is_saved_as_bytes() -> None:
    history = [iteration(1), iteration(2)]
    assert packed(history).dtype == torch.uint8
    assert unpacked(packed(history), Iteration.from_json) == history
    assert unpacked(packed([]), Iteration.from_json) == []


def test_tensorboard_holds_the_figures(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, [], 0) as log:
        log.add(iteration(1))
    tags = set(board(tmp_path).Tags()["scalars"])
    assert {"loss/train", "loss/heldout_conflict", "attention/sharpness", "weight_norm/W_q/head_2"} <= tags
    assert board(tmp_path).Scalars("loss/heldout")[0].value == pytest.approx(0.0298)


def test_a_run_that_goes_on_at_once_loses_no_point(tmp_path: Path) -> None:
    for batches in (0, 150, 250):
        history = [iteration(number) for number in range(1, batches // 100 + 1)]
        with MetricsLog(tmp_path, history, batches) as log:
            for number in range(batches // 100 + 1, 5):
                log.add(iteration(number))
    assert [each.step for each in board(tmp_path).Scalars("loss/train")] == [100, 200, 300, 400]
    seconds = [path.name.split(".")[3] for path in (tmp_path / "tensorboard").iterdir()]
    assert len(set(seconds)) == 3, "the files' names are in the order they were written in"


def test_a_full_disk_is_one_error_and_no_thread_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorBoard writes in a thread of its own."""
    before = threading.excepthook

    def full(writer: object, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    def fill() -> None:
        with MetricsLog(tmp_path, [], 0) as log:
            monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
            log.add(iteration(1))

    with pytest.raises(OSError, match="No space left on device"):
        fill()
    assert capsys.readouterr().err == ""
    assert threading.excepthook is before
