import numpy as np
import pytest
from click.testing import CliRunner

from skyclone.datasets.cli import datasets
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.labels import Survey, survey, text


def test_rows_are_counted_by_label_and_conflict() -> None:
    found = Survey()
    found.add(
        {
            "episode": np.zeros(5, np.int32),
            "conflicts": np.array([0, 0, 1, 5, 1], np.int8),
            "waypoint_east_m": np.array([0.0, 0.0, 0.0, 0.0, np.nan], np.float32),  # the last one hovers
            "teacher_turn": np.array([-1.0, 0.05, 1.0, 1.0, 0.0], np.float32),
            "teacher_speed": np.array([0.0, 0.0, -0.5, 0.5, 0.0], np.float32),
        }
    )
    assert (found.rows, found.hovering) == (4, 1)
    assert found.rows_by_conflicts.tolist() == [2, 1, 0, 1]
    assert found.counts[0, 0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]  # turn, free
    assert found.counts[0, 1].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]  # turn, in conflict: 1.0 is in the last
    said = text(found, 5).splitlines()
    assert said[0] == "Labels and conflicts (all rows; 1 of hovering aircraft not counted)"
    assert said[1] == "conflicts of a row   0: 50.00%, 1: 25.00%, 2: 0.00%, 3 or more: 25.00%"
    assert f"+0.82 to +1.00     {'0.0%':<33} {'#' * 24} 100.0%" in said


def test_all_rows_of_a_small_dataset_are_counted(dataset: Dataset) -> None:
    found = survey(dataset)
    table = dataset.table()
    assert found.rows == dataset.rows == found.counts[0].sum() == found.counts[1].sum()
    assert found.counts[:, 1].sum(axis=1).tolist() == [np.count_nonzero(table["conflicts"])] * 2


@pytest.mark.parametrize("format", ["parquet"], indirect=True)
def test_of_a_large_dataset_a_part_is_counted_and_said(dataset: Dataset) -> None:
    found = survey(dataset, most_rows=dataset.rows // 2)
    assert 0 < found.rows < dataset.rows
    assert f"({found.rows:,} of {dataset.rows:,} rows, in shards spread over all)" in text(found, dataset.rows)
    assert survey(dataset, most_rows=1).rows > 0


def test_a_damaged_shard_is_named(dataset: Dataset) -> None:
    name = dataset.manifest.shards[1].name
    (dataset.path / "shards" / name).write_bytes(b"nothing")
    found = survey(open_dataset(dataset.path, allow_incomplete=True))
    assert found.unreadable == [name]
    assert f"Not readable: {name}. Ask `skyclone datasets verify`" in text(found, dataset.rows)


def test_info_shows_the_labels(dataset: Dataset) -> None:
    said = CliRunner().invoke(datasets, ["info", str(dataset.path)]).stdout
    for part in ("teacher_turn", "teacher_speed", "in conflict", "conflicts of a row", "these are its own figures"):
        assert part in said


def test_no_rows_have_no_labels() -> None:
    assert text(Survey(), 0) == "No rows to count labels of."
