import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from skyclone.cli import main, skyclone
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.collector.minari_export import export_minari
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError, ObservationError

minari = pytest.importorskip("minari", reason="needs the extra skyclone[minari]")

WORLD = WorldConfig(aircraft=5, max_steps=90)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six episodes in two shards; some flights end at the waypoint, some at the time limit."""
    folder = tmp_path_factory.mktemp("minari") / "data"
    collect(folder, CollectConfig(world=WORLD, episodes=6, episodes_per_shard=3, seed=4), workers=1)
    return open_dataset(folder)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Minari's folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def test_minari_reads_what_was_flown(dataset: Dataset, root: Path) -> None:
    assert export_minari(dataset, "skyclone/mvp-v0") == root / "skyclone" / "mvp-v0"
    read = minari.load_dataset("skyclone/mvp-v0")
    assert list(minari.list_local_datasets()) == ["skyclone/mvp-v0"]
    assert (read.total_episodes, read.total_steps) == (30, dataset.rows)
    table = dataset.table()
    described = list(read.storage.get_episode_metadata(range(30)))
    ends = []
    for episode, about in zip(read.iterate_episodes(), described, strict=True):
        number, aircraft = int(about["options"]["episode"]), int(about["options"]["aircraft"])
        here = (table["episode"] == number) & (table["aircraft"] == aircraft)
        steps = int(here.sum())
        assert episode.observations.shape == (steps + 1, 7 + 4 * 5 + 4)
        assert all(read.observation_space.contains(observation) for observation in episode.observations)
        for column, found in enumerate(("pilot_turn", "pilot_speed")):
            np.testing.assert_array_equal(episode.actions[:, column], table[found][here])
        np.testing.assert_array_equal(episode.rewards, table["reward"][here])
        np.testing.assert_array_equal(episode.infos["teacher_action"][:-1, 0], table["teacher_turn"][here])
        assert np.isnan(episode.infos["teacher_action"][-1]).all()
        outcome = int(table["outcome"][here][-1])
        ends.append(outcome)
        assert episode.terminations.tolist() == [False] * (steps - 1) + [outcome in (1, 2)]
        assert episode.truncations.tolist() == [False] * (steps - 1) + [outcome == 3]
    assert {1, 3} <= set(ends)  # else the test would test less than it says


def test_the_environment_recovers_and_flies_the_same_flights(dataset: Dataset, root: Path) -> None:
    export_minari(dataset, "mvp-v0", "ego:intruders=2")
    read = minari.load_dataset("mvp-v0")
    env = read.recover_environment()
    assert env.observation_space == read.observation_space
    assert env.action_space == read.action_space
    described = list(read.storage.get_episode_metadata(range(read.total_episodes)))
    for index in range(0, 30, 4):
        episode, about = read[index], described[index]
        options = {name: int(value) for name, value in about["options"].items()}
        observation, _ = env.reset(seed=about["seed"], options=options)
        seen = [observation]
        for action, reward in zip(episode.actions, episode.rewards, strict=True):
            observation, found, terminated, truncated, _ = env.step(action)
            seen.append(observation)
            assert found == pytest.approx(reward, abs=1e-3)
        np.testing.assert_allclose(np.array(seen), episode.observations, atol=0.02)  # floats add up otherwise
        assert (terminated, truncated) == (episode.terminations[-1], episode.truncations[-1])


def test_it_says_where_it_comes_from(dataset: Dataset, root: Path) -> None:
    folder = export_minari(dataset, "skyclone/mvp-v0")
    data = json.loads((folder / "data" / "metadata.json").read_text())
    assert data["data_format"] == "hdf5"
    assert data["algorithm_name"] == "mvp"
    assert data["skyclone_content_hash"] == dataset.content_hash
    assert data["skyclone_code"] == dataset.manifest.code
    assert data["skyclone_recipe"]["seed"] == 4
    assert data["skyclone_observation"] == "seed"


def test_a_taken_id_is_an_error_and_stays_as_it_is(dataset: Dataset, root: Path) -> None:
    folder = export_minari(dataset, "skyclone/mvp-v0")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with pytest.raises(DatasetError, match=r"has a dataset 'skyclone/mvp-v0' already.* such as skyclone/mvp-v1"):
        export_minari(dataset, "skyclone/mvp-v0", "ego:intruders=2")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert folder.exists()


def test_the_same_command_knows_its_own_export(dataset: Dataset, root: Path) -> None:
    """As after a kill between publishing and the end."""
    folder = export_minari(dataset, "skyclone/mvp-v0")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert export_minari(dataset, "skyclone/mvp-v0") == folder
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    (folder / "data" / "metadata.json").write_text("{}")
    with pytest.raises(DatasetError, match="already"):
        export_minari(dataset, "skyclone/mvp-v0")


def test_a_folder_of_no_name_is_refused(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", "")
    with pytest.raises(ConfigurationError, match="expected the name of a folder in MINARI_DATASETS_PATH, got none"):
        export_minari(dataset, "skyclone/mvp-v0")


@pytest.mark.parametrize("name", ["mvp", "../mvp-v0", "/etc/mvp-v0", "a/../../b-v0", "", "a b-v0", "mvp-vx"])
def test_a_malformed_id_is_refused(dataset: Dataset, root: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no Minari id: expected NAMESPACE/NAME-vVERSION"):
        export_minari(dataset, name)
    assert not root.exists()


def test_an_error_on_the_way_does_not_burn_the_id(
    dataset: Dataset, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        export_minari(dataset, "skyclone/mvp-v0", "seed", fail)
    assert list(root.iterdir()) == []
    export_minari(dataset, "skyclone/mvp-v0")


def test_a_killed_export_does_not_burn_the_id(dataset: Dataset, root: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from skyclone.collect.collector.minari_export import export_minari\n"
        "from skyclone.datasets.dataset import open_dataset\n"
        "kill = lambda rows: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_minari(open_dataset(sys.argv[1]), 'skyclone/mvp-v0', 'seed', kill)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(dataset.path)], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name.startswith(".skyclone-") for path in root.iterdir()] == [True]
    assert list(minari.list_local_datasets()) == []
    export_minari(dataset, "skyclone/mvp-v0")
    assert [path.name for path in root.iterdir()] == ["skyclone"]  # what the dead process left is gone


def test_without_minari_the_error_names_the_extra(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "minari.dataset.minari_dataset", None)
    with pytest.raises(SystemExit) as stop:
        main(["datasets", "export-minari", str(dataset.path), "skyclone/mvp-v0"])
    assert stop.value.code == 1
    assert "pip install 'skyclone[minari]'" in capsys.readouterr().err


def test_the_command(dataset: Dataset, root: Path) -> None:
    arguments = [
        "datasets",
        "export-minari",
        str(dataset.path),
        "skyclone/mvp-v0",
        "--observation",
        "cpa:intruders=1",
    ]
    result = CliRunner().invoke(skyclone, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "Load it: minari.load_dataset('skyclone/mvp-v0')" in result.stderr
    assert minari.load_dataset("skyclone/mvp-v0").observation_space.shape == (7 + 9 + 1,)
    help_text = CliRunner().invoke(skyclone, ["datasets", "export-minari", "--help"]).stdout
    assert "MINARI_DATASETS_PATH" in help_text


def test_a_bad_view_is_an_error_before_anything_is_written(dataset: Dataset, root: Path) -> None:
    with pytest.raises(ObservationError, match="unknown observation 'nothing'"):
        export_minari(dataset, "skyclone/mvp-v0", "nothing")
    assert not root.exists()


D3RLPY = """
import sys
import d3rlpy, minari, numpy as np
from skyclone.collect.environments import OUTCOMES

read = minari.load_dataset(sys.argv[1])
flights = list(read.iterate_episodes())
dataset = d3rlpy.dataset.MDPDataset(  # d3rlpy 2.8's own get_minari leaves T + 1 observations beside T actions
    observations=np.concatenate([flight.observations[:-1] for flight in flights]),
    actions=np.concatenate([flight.actions for flight in flights]),
    rewards=np.concatenate([flight.rewards for flight in flights]),
    terminals=np.concatenate([flight.terminations for flight in flights]),
    timeouts=np.concatenate([flight.truncations for flight in flights]),
)
cloning = d3rlpy.algos.BCConfig(batch_size=256, learning_rate=1e-3).create(device="cpu")
losses = cloning.fit(dataset, n_steps=1200, n_steps_per_epoch=400, show_progress=False,
                     logger_adapter=d3rlpy.logging.NoopAdapterFactory())
env = read.recover_environment()
observation, _ = env.reset(seed=0)
ended = False
while not ended:
    observation, reward, terminated, truncated, infos = env.step(cloning.predict(observation[None])[0])
    ended = terminated or truncated
actions = np.concatenate([flight.actions for flight in flights])
print("RESULT", losses[-1][1]["loss"], actions.var(axis=0).mean(), OUTCOMES[infos["outcome"]])
"""


@pytest.mark.slow
def test_d3rlpy_trains_on_it(tmp_path: Path, root: Path) -> None:
    if importlib.util.find_spec("d3rlpy") is None:
        pytest.skip("d3rlpy is not installed")
    folder = tmp_path / "data"
    collect(folder, CollectConfig(world=WorldConfig(aircraft=10), episodes=16, seed=1), workers=1)
    export_minari(open_dataset(folder), "skyclone/mvp-v0", "ego:intruders=4")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", D3RLPY, "skyclone/mvp-v0"],
        capture_output=True, text=True, check=False, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    _, loss, variance, outcome = done.stdout[done.stdout.index("RESULT") :].split()
    assert float(loss) < 0.75 * float(variance)  # it has learnt: the mean action has a loss of the variance
    assert outcome in ("waypoint", "left_sector", "time_limit")


@pytest.mark.parametrize("written", [0, 3, 18])
def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(
    dataset: Dataset, root: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """HDF5 ends the process when it cannot write what it holds back, so space is looked for before."""
    free = iter([2**40] * written + [30 * 2**20])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(OSError, match="No space left on device"):
        export_minari(dataset, "skyclone/full-v0")
    assert os.listdir(root) == [], "the id stays free"


def test_who_hovers_is_no_episode_and_seen_to_the_end(tmp_path: Path, root: Path) -> None:
    config = WorldConfig(aircraft=4, max_steps=60, scenario="hover:share=0.5")
    collect(tmp_path / "data", CollectConfig(world=config, teacher="none", episodes=3, seed=2))
    hovering = open_dataset(tmp_path / "data")
    export_minari(hovering, "hover-v0", "ego")
    read = minari.load_dataset("hover-v0")
    table = hovering.table()
    flown = ~np.isnan(table["waypoint_east_m"])
    assert (read.total_episodes, read.total_steps) == (6, int(flown.sum()))
    env = read.recover_environment()
    described = list(read.storage.get_episode_metadata(range(6)))
    for index, about in enumerate(described):
        episode = read[index]
        assert np.isfinite(episode.observations).all()
        assert (episode.observations[:, -3:].sum(1) >= 2).all()  # both that hover
        options = {name: int(value) for name, value in about["options"].items()}
        seen = [env.reset(seed=about["seed"], options=options)[0]]
        for action in episode.actions:
            seen.append(env.step(action)[0])
        np.testing.assert_allclose(np.array(seen), episode.observations, atol=2e-3)


def test_flights_that_enter_later_are_flown_again(tmp_path: Path, root: Path) -> None:
    config = WorldConfig(
        aircraft=4, max_steps=120, scenario="arrivals", sector_radius_m=300.0, sector_area_m2=1.5e5
    )
    collect(tmp_path / "data", CollectConfig(world=config, episodes=2, seed=2))
    arrivals = open_dataset(tmp_path / "data")
    table = arrivals.table()
    assert any(table["step"][(table["episode"] == 0) & (table["aircraft"] == number)][0] for number in range(4))
    export_minari(arrivals, "arrivals-v0", "ego")
    read = minari.load_dataset("arrivals-v0")
    env = read.recover_environment()
    for index, about in enumerate(read.storage.get_episode_metadata(range(read.total_episodes))):
        episode = read[index]
        options = {name: int(value) for name, value in about["options"].items()}
        observation, _ = env.reset(seed=about["seed"], options=options)
        np.testing.assert_allclose(
            observation, episode.observations[0], atol=2e-2
        )  # the kernels flew it till there


def test_in_wind_and_of_a_fleet_the_last_observation_is_what_the_environment_shows(
    tmp_path: Path, root: Path
) -> None:
    """But for the last flight of an episode: what the wind is after it, nobody has written down."""
    config = replace(WORLD, fleet="m600=0.5,wing=0.5", wind_east_mps=4.0, gust_mps=1.0)
    collect(tmp_path / "data", CollectConfig(world=config, teacher="none", episodes=2, seed=4))
    export_minari(open_dataset(tmp_path / "data"), "wind-v0", "ego:intruders=2")
    read = minari.load_dataset("wind-v0")
    env = read.recover_environment()
    lengths = [len(read[index].actions) for index in range(read.total_episodes)]
    for index, about in enumerate(read.storage.get_episode_metadata(range(read.total_episodes))):
        episode = read[index]
        options = {name: int(value) for name, value in about["options"].items()}
        seen = [env.reset(seed=about["seed"], options=options)[0]]
        for action in episode.actions:
            seen.append(env.step(action)[0])
        longest = max(lengths[index - index % 5 : index - index % 5 + 5])
        whole = slice(None) if lengths[index] < longest else slice(0, -1)
        np.testing.assert_allclose(np.array(seen)[whole, :7], episode.observations[whole, :7], atol=2e-3)
