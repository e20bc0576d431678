"""Flights of evaluations and datasets, written for other programs."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from skyclone.collect.airspace.geodesy import Plane
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.exports.flight import Place
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError
from skyclone.evaluate.flights import flown
from skyclone.evaluate.flights.cli import export_flight
from skyclone.evaluate.report import archive
from skyclone.evaluate.report.archive import ArchiveError
from skyclone.evaluate.report.content import Report

HERE = Place(52.31, 4.76)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three episodes in two shards."""
    folder = tmp_path_factory.mktemp("data") / "mvp"
    collect(folder, CollectConfig(world=WorldConfig(aircraft=3), episodes=3, episodes_per_shard=2), workers=1)
    return open_dataset(folder)


def test_a_collected_episode_is_where_its_rows_are(dataset: Dataset) -> None:
    flight = flown.find(dataset.path, 2, None, HERE, datetime(2026, 5, 1, tzinfo=UTC))
    table, plane = dataset.table(), Plane((52.31, 4.76))
    assert len(flight.tracks) == 3
    for track in flight.tracks:
        own = (table["episode"] == 2) & (table["aircraft"] == track.number)
        points = plane.points([(north, east) for north, east in track.place_deg.tolist()])
        expected = np.stack((table["east_m"][own], table["north_m"][own]), axis=1)
        np.testing.assert_allclose(points[:-1], expected, atol=1e-3)
        assert len(track.time_s) == own.sum() + 1
    with pytest.raises(ConfigurationError, match="expected an episode from 0 to 2, got 3"):
        flown.find(dataset.path, 3, None, HERE)
    with pytest.raises(ConfigurationError, match="is a dataset: --contender is for evaluations"):
        flown.find(dataset.path, 0, "mvp", HERE)


def test_an_evaluated_scenario_is_flown_again(report: Report, tmp_path: Path) -> None:
    (tmp_path / archive.NAME).write_bytes(archive.write(report))
    plan = report.evaluation.plan
    for contender in plan.contenders:
        flight = flown.find(tmp_path, 0, contender.name, HERE)
        assert 1 <= len(flight.tracks) <= plan.world.aircraft
        assert contender.name in flight.title
    last = flown.find(tmp_path, plan.scenarios - 1, plan.contenders[0].name, HERE)
    assert last.tracks[0].place_deg[0].tolist() != flight.tracks[0].place_deg[0].tolist()
    with pytest.raises(ConfigurationError, match=r"expected --contender to be one of .*, got 'nobody'"):
        flown.find(tmp_path, 0, "nobody", HERE)


def test_a_flight_that_is_not_the_evaluated_one_is_an_error(report: Report, tmp_path: Path) -> None:
    replay = report.replay
    assert replay is not None
    first, second, *rest = replay.contenders[0].flights
    swapped = replay.contenders[0]._replace(flights=[second, first, *rest])
    other = replay._replace(contenders=[swapped, *replay.contenders[1:]])
    (tmp_path / archive.NAME).write_bytes(archive.write(replace(report, replay=other)))
    with pytest.raises(DatasetError, match="flies scenario 0 otherwise than it was evaluated: up to"):
        flown.find(tmp_path, 0, replay.contenders[0].name, HERE)


def test_the_command_writes_each_format(dataset: Dataset, tmp_path: Path) -> None:
    files = {name: tmp_path / f"flight.{name}" for name in ("scn", "czml", "table")}
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    base = [str(dataset.path), "--episode", "1", "--place", "48.1,11.6"]
    for _ in range(2):  # our own files are replaced
        result = CliRunner().invoke(
            export_flight, [*base, "--altitude-ft", "300", *options], catch_exceptions=False
        )
        assert result.exit_code == 0, result.stderr
        assert "episode 1 of" in result.stderr
    assert ">CRE SC000,M600,48." in files["scn"].read_text()
    assert len(json.loads(files["czml"].read_text())) == 4
    assert set(pq.read_table(files["table"])["altitude"].to_pylist()) == {300.0}
    for name, path in files.items():
        path.write_bytes(b"somebody's own notes")
        with pytest.raises(ConfigurationError, match="It is left as it is"):
            CliRunner().invoke(export_flight, [*base, f"--{name}", str(path)], catch_exceptions=False)
        assert path.read_bytes() == b"somebody's own notes"
    result = CliRunner().invoke(export_flight, base)
    assert (result.exit_code, "got none of them" in result.stderr) == (2, True)


def test_a_replay_that_contradicts_itself_is_no_traceback(report: Report, tmp_path: Path) -> None:
    assert report.replay is not None
    first, *others = report.replay.contenders
    cut = first._replace(flights=[each._replace(positions=each.positions[:40]) for each in first.flights])
    (tmp_path / archive.NAME).write_bytes(
        archive.write(replace(report, replay=report.replay._replace(contenders=[cut, *others])))
    )
    with pytest.raises(ArchiveError, match="its parts contradict each other"):
        flown.find(tmp_path, 0, first.name, HERE)


def test_what_cannot_be_written_is_said_before_anything_is_flown(dataset: Dataset, tmp_path: Path) -> None:
    def refused(*options: object, folder: object = dataset.path) -> str:
        arguments = [str(each) for each in (folder, "--episode", 1, "--place", "48.1,11.6", *options)]
        result = CliRunner().invoke(export_flight, arguments)
        assert result.exit_code != 0
        assert result.exception is not None
        return result.stderr if isinstance(result.exception, SystemExit) else str(result.exception)

    both, file = tmp_path / "both", tmp_path / "file"
    file.write_text("mine")
    assert "expected a file of its own for each format" in refused("--scn", both, "--czml", both)
    assert "expected no file or a flight" in refused("--czml", both, "--scn", file)
    assert "expected a folder that can be written into" in refused("--czml", both, "--scn", file / "deeper")
    assert "expected a --start up to the year 9998, got 9999" in refused("--czml", both, "--start", "9999-12-31")
    assert "wrote, got neither" in refused("--czml", both, folder=tmp_path)
    assert "wrote, got no such folder" in refused("--czml", both, folder=tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
