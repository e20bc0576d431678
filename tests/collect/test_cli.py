from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from skyclone.collect import scenarios
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.airspace.worlds import parse
from skyclone.collect.cli import collect, worlds
from skyclone.datasets import open_dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError
from skyclone.datasets.traffic.pairs import Pairs
from skyclone.datasets.traffic.state import Traffic

SMALL = ("--episodes", 4, "--aircraft", 3, "--episodes-per-shard", 2, "--workers", 1)


def _run(*arguments: object, obj: Any = None) -> Result:
    return CliRunner().invoke(collect, [str(argument) for argument in arguments], obj=obj)


def test_a_dataset_is_collected_and_people_are_told(tmp_path: Path) -> None:
    result = _run(
        "--out", tmp_path / "data", *SMALL, "--teacher", "mvp:margin=1.2", "--seed", 9, "--format", "hdf5"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    dataset = open_dataset(tmp_path / "data")
    assert (dataset.manifest.teacher, dataset.manifest.seed, dataset.manifest.format) == (
        "mvp:margin=1.2",
        9,
        "hdf5",
    )
    assert (dataset.manifest.world["aircraft"], dataset.episodes) == (3, 4)
    for part in ("rows/s", "flying", "writing", "complete", dataset.content_hash):
        assert part in result.stderr


def test_parts_say_how_much_is_there(tmp_path: Path) -> None:
    result = _run("--out", tmp_path / "data", *SMALL, "--shards", "1:2")
    assert "1 of 2 shards" in result.stderr
    assert open_dataset(tmp_path / "data", allow_incomplete=True).shards == [1]
    assert "complete" in _run("--out", tmp_path / "data", *SMALL, "--shards", "0:1").stderr


def test_the_front_door_s_loader_makes_the_pilot(tmp_path: Path) -> None:
    def load(name: str) -> Any:
        def pilot(traffic: Traffic, pairs: Pairs) -> torch.Tensor:
            return torch.zeros((*traffic.east_m.shape, 2))

        return pilot

    result = _run("--out", tmp_path / "data", *SMALL, "--pilot", "runs/a", obj={"load_pilot": load})
    assert result.exit_code == 0, result.stderr
    assert open_dataset(tmp_path / "data").manifest.pilot == "runs/a"
    assert not open_dataset(tmp_path / "data").table()["pilot_turn"].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes", 0], "0 is not in the range x>=1"),
        (["--aircraft", 0], "0 is not in the range x>=1"),
        (["--noise", -1], "-1.0 is not in the range x>=0"),
        (["--seed", -1], "-1 is not in the range x>=0"),
        (["--workers", 0], "0 is not in the range 1<=x<=1024"),
        (["--format", "csv"], "'csv' is not one of 'parquet', 'hdf5'"),
        (["--shards", "4:2"], "expected A:B with 0 <= A < B, such as 0:4"),
        (["--shards", "3"], "expected A:B with 0 <= A < B, such as 0:4"),
    ],
)
def test_wrong_use_exits_2_and_begins_nothing(tmp_path: Path, arguments: list[object], message: str) -> None:
    result = _run("--out", tmp_path / "data", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "mpv"], "unknown teacher 'mpv'. There are:"),
        (["--scenario", "sektor"], "unknown scenario 'sektor'. There are:"),
        (["--world", "m601"], "unknown world 'm601'. There are: m600, enroute"),
        (["--world", "m600:aircraft=0"], "expected aircraft from 1 to 32,000, got 0"),
        (["--world", "nowhere.toml"], "expected a TOML file, there is none"),
        (["--shards", "1:99"], "expected shards A:B with 0 <= A < B <= 8"),
    ],
)
def test_what_makes_no_sense_is_an_error_for_the_front_door(
    tmp_path: Path, arguments: list[object], message: str
) -> None:
    result = _run("--out", tmp_path / "data", *arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_help_names_every_option_of_the_contract() -> None:
    text = _run("--help").stdout
    for option in (
        *(
            "--out",
            "--episodes",
            "--world",
            "--aircraft",
            "--scenario",
            "--teacher",
            "--pilot",
            "--noise",
            "--seed",
            "--format",
        ),
        *("--workers", "--shards", "--simulator", "--engine"),
    ):
        assert option in text


OWN = """00:00:00.00>CRE D1,M600,52.000,4.370,0,100,17.5
00:00:00.00>CRE D2,M600,52.004,4.370,180,100,17.5
00:00:00.00>DEST D1 52.004 4.370
00:00:00.00>DEST D2 52.000 4.370
00:00:00.00>PAN 52 4.37
"""


def test_an_own_scenario_is_flown_as_often_as_it_stands_there(tmp_path: Path) -> None:
    own, data = tmp_path / "own.scn", tmp_path / "data"
    own.write_text(OWN)
    result = _run("--out", data, "--scenario", f"file:{own}", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert "Warning: own.scn: left out: PAN" in result.stderr
    manifest = open_dataset(data).manifest
    assert (manifest.episodes, manifest.world["aircraft"]) == (1, 2)
    assert manifest.scenario.startswith(f"file:{own}#")
    assert "Nothing to do" in _run("--out", data, "--scenario", f"file:{own}", "--workers", 1).stderr
    own.write_text(OWN.replace("17.5", "15"))
    with pytest.raises(DatasetError, match=r"holds another dataset: .*scenario 'file:"):
        CliRunner().invoke(collect, ["--out", str(data), "--scenario", f"file:{own}"], catch_exceptions=False)


def test_an_unknown_simulator_is_wrong_use(tmp_path: Path) -> None:
    result = _run("--out", tmp_path / "data", "--simulator", "xplane")
    assert result.exit_code == 2
    assert "'xplane' is not one of 'embedded', 'bluesky'" in result.stderr


# --- worlds ---


def _world_of(tmp_path: Path, *arguments: object) -> WorldConfig:
    result = _run("--out", tmp_path / "data", "--episodes", 2, "--workers", 1, *arguments)
    assert result.exit_code == 0, result.exception
    return WorldConfig.from_json(dict(open_dataset(tmp_path / "data").manifest.world))


def test_a_world_is_stored_whole(tmp_path: Path) -> None:
    assert _world_of(tmp_path, "--world", "enroute:aircraft=3:max_steps=9") == parse(
        "enroute:aircraft=3:max_steps=9"
    )


def test_a_world_s_file_is_not_needed_later_and_other_options_override_it(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('aircraft = 9\nscenario = "crossing"\nmax_steps = 8\nreward = "detour"\n')
    found = _world_of(tmp_path, "--world", path, "--aircraft", 4)
    assert found == WorldConfig(aircraft=4, scenario="crossing", max_steps=8, reward="detour")
    path.unlink()
    again = _run("--out", tmp_path / "data", "--episodes", 2, "--world", "m600:max_steps=8:reward=detour",
                 "--aircraft", 4, "--scenario", "crossing")  # fmt: skip
    assert "all 1 shards are sound" in again.stderr


def test_a_scenario_s_file_starts_from_the_world(tmp_path: Path) -> None:
    own = tmp_path / "own.scn"
    own.write_text(OWN)
    found = _world_of(tmp_path, "--world", "m600:protected_zone_m=50:max_steps=7:aircraft=9", "--episodes", 1,
                      "--scenario", f"file:{own}")  # fmt: skip
    assert (found.protected_zone_m, found.aircraft, found.max_steps) == (50.0, 2, 149)  # three times 445 m at 9 m/s


def test_a_pilot_of_another_scale_is_told_so(tmp_path: Path) -> None:
    class Straight:
        meta = {"world": WorldConfig(protected_zone_m=60.0).to_json()}  # noqa: RUF012

        def __call__(self, traffic: Traffic, pairs: Pairs) -> torch.Tensor:
            return torch.zeros((*traffic.east_m.shape, 2))

    def load(name: str) -> Any:
        return Straight()

    result = _run("--out", tmp_path / "data", *SMALL, "--pilot", "runs/a", obj={"load_pilot": load})
    assert "Warning: runs/a was trained with protected_zone_m 60; here it is 100." in result.stderr


def test_worlds_are_listed_and_printed(tmp_path: Path) -> None:
    listed = CliRunner().invoke(worlds).stdout
    for part in ("m600 ", "A320s at FL360", "protected_zone_m    m     100", "R; a distance below it"):
        assert part in listed
    path = tmp_path / "my.toml"
    path.write_text(CliRunner().invoke(worlds, ["enroute:step_s=2"]).stdout)
    assert parse(str(path)) == parse("enroute:step_s=2")
    assert CliRunner().invoke(worlds, [str(path)]).stdout == path.read_text()
    assert "unknown world" in str(CliRunner().invoke(worlds, ["drone"]).exception)


def test_the_help_names_every_scenario() -> None:
    text = " ".join(_run("--help").stdout.split()).replace("- ", "-")  # where a line was broken
    offered = text[text.index("How the traffic is laid out") : text.index("file:PATH")]
    assert all(name in offered for name in scenarios.names())
