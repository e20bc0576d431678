import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked_command import Forked, command
from scipy.spatial import cKDTree

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.arithmetic import compiling
from skyclone.collect.arithmetic.identity import PORTABLE
from skyclone.collect.collector.collector import Made, ShardMaker, collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.world import World
from skyclone.collect.teachers.registry import action_towards
from skyclone.datasets import Loader, Snapshots, View, effort, labels, open_dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError
from skyclone.datasets.files.arithmetic import OtherArithmetic
from skyclone.datasets.files.manifest import load_manifest
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.pairs import Pairs
from skyclone.datasets.traffic.state import Traffic

SMALL = CollectConfig(world=WorldConfig(aircraft=5, max_steps=40), episodes=10, episodes_per_shard=4, seed=3)


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collected") / "data"
    collect(folder, SMALL)
    return folder


def test_what_was_collected_is_a_complete_dataset(collected: Path) -> None:
    dataset = open_dataset(collected)
    assert dataset.verify() == []
    assert (dataset.episodes, len(dataset.shards)) == (10, 3)
    assert dataset.manifest.figures["episodes"] == 10
    assert dataset.manifest.figures["flight_s"] == dataset.rows
    assert WorldConfig.from_json(dict(dataset.manifest.world)) == SMALL.world
    assert "| conflicts (events of a pair) |" in (collected / "README.md").read_text()


def test_the_labels_on_disk_are_the_teacher_s(collected: Path) -> None:
    store = Snapshots.of(open_dataset(collected))
    rows = torch.arange(len(store))
    traffic, own = store.traffic(rows)  # one snapshot for each row
    action = action_towards(traffic, teachers.make("mvp", SMALL.world).velocity(traffic), SMALL.world)
    assert float((action[rows, own] - store.action).abs().max()) < 1e-5


def test_a_second_run_does_nothing(collected: Path) -> None:
    before = _everything(collected)
    manifest, times = collect(collected, SMALL, workers=2)
    assert (times.made, times.kept, times.rows) == (0, 3, 0)
    assert manifest.complete
    assert "Nothing to do: all 3 shards are sound" in times.text(1)
    assert {k: v for k, v in _everything(collected).items() if k != "README.md"} == {
        k: v for k, v in before.items() if k != "README.md"
    }


def test_workers_parts_and_formats_make_the_same_content(collected: Path, tmp_path: Path) -> None:
    expected = open_dataset(collected).content_hash
    collect(tmp_path / "workers", SMALL, workers=2)
    assert _everything(tmp_path / "workers") == _everything(collected)
    for shards in (range(2, 3), range(0, 2)):
        manifest, _ = collect(tmp_path / "parts", SMALL, shards=shards)
        assert manifest.complete == (shards.start == 0)
    assert _everything(tmp_path / "parts") == _everything(collected)
    other, _ = collect(tmp_path / "hdf5", replace(SMALL, format="hdf5"))
    assert other.content_hash == expected


def test_damaged_shards_are_made_again_bit_for_bit(collected: Path, tmp_path: Path) -> None:
    folder, lines, told = tmp_path / "data", [], []
    collect(folder, SMALL)
    shards = sorted((folder / "shards").iterdir())
    shards[0].unlink()
    shards[2].write_bytes(shards[2].read_bytes()[:-1])
    _, times = collect(folder, SMALL, report=lines.append, progress=told.append)
    assert (times.made, times.kept) == (2, 1)
    assert [line.partition(":")[0] for line in lines] == [
        "Shard 00000.parquet is missing",
        "Shard 00002.parquet is cut",
    ]
    assert told[0] == 4 + 2  # episodes
    assert [made.entry.name for made in told[1:] if isinstance(made, Made)] == ["00000.parquet", "00002.parquet"]
    assert _everything(folder) == _everything(collected)


def test_more_episodes_extend_the_dataset(collected: Path, tmp_path: Path) -> None:
    collect(tmp_path / "data", replace(SMALL, episodes=6))
    _, times = collect(tmp_path / "data", SMALL)
    assert (times.made, times.kept) == (2, 1)
    assert _everything(tmp_path / "data") == _everything(collected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "seed 3 there, 4 now"),
        ({"teacher": "none"}, "teacher 'mvp' there, 'none' now"),
        ({"world": WorldConfig(aircraft=6, max_steps=40)}, "aircraft 5 there, 6 now"),
        ({"noise": 0.1}, "noise 0.0 there, 0.1 now"),
        ({"episodes": 9}, "Call with --episodes 10 to continue"),
    ],
)
def test_another_collection_does_not_touch_the_folder(collected: Path, change: dict, message: str) -> None:
    before = _everything(collected)
    with pytest.raises(DatasetError, match=message):
        collect(collected, replace(SMALL, **change))
    assert _everything(collected) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 0}, "expected episodes of 1 or more, got 0. Use --episodes 1000"),
        ({"teacher": "mpv"}, "unknown teacher 'mpv'. There are: .*mvp, none"),
        ({"teacher": "mvp:marign=2"}, "teacher 'mvp' has no parameter 'marign'. It has: margin"),
        (
            {"world": WorldConfig(scenario="sektor")},
            "unknown scenario 'sektor'. There are: arrivals, circle, converging",
        ),
        ({"noise": -0.5}, "expected noise of 0 or more and below 100"),
        ({"noise": float("nan")}, "expected noise of 0 or more and below 100"),
        ({"seed": -1}, "expected seed of 0 or more, got -1"),
        ({"format": "csv"}, "unknown format 'csv'. There are: parquet, hdf5"),
        ({"episodes_per_shard": 0}, "expected episodes_per_shard from 1 to 16,384, got 0"),
        ({"world": WorldConfig(aircraft=90, scenario="circle")}, "scenario 'circle': 90 aircraft on a circle"),
        ({"pilot": "runs/clone"}, "pilot 'runs/clone': expected 'teacher'"),
    ],
)
def test_senseless_collections_begin_nothing(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        collect(tmp_path / "data", replace(SMALL, **change))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("shards", [range(0, 4), range(3, 4), range(2, 2)])
def test_shards_that_do_not_exist_are_refused(tmp_path: Path, shards: range) -> None:
    with pytest.raises(
        ConfigurationError, match=r"expected shards A:B with 0 <= A < B <= 3 \(10 episodes, 4 a shard"
    ):
        collect(tmp_path / "data", SMALL, shards=shards)


class _Student:
    """Flies straight on; its weights have a fingerprint."""

    fingerprint = "abc123"

    def __call__(self, traffic: Traffic, pairs: Pairs) -> torch.Tensor:
        return torch.zeros((*traffic.east_m.shape, 2))


def test_a_student_is_loaded_flies_and_is_remembered(tmp_path: Path) -> None:
    loaded: list[str] = []

    def load(name: str) -> _Student:
        loaded.append(name)
        return _Student()

    manifest, _ = collect(tmp_path, replace(SMALL, pilot="runs/clone"), load_pilot=load)
    assert manifest.pilot == "runs/clone#abc123"
    assert set(loaded) == {"runs/clone"}
    table = open_dataset(tmp_path).table()
    assert (table["pilot_turn"] == 0).all()
    assert np.abs(table["teacher_turn"]).max() > 0.5
    _Student.fingerprint, before = "other", _Student.fingerprint
    try:
        with pytest.raises(DatasetError, match="pilot 'runs/clone#abc123' there, 'runs/clone#other' now"):
            collect(tmp_path, replace(SMALL, pilot="runs/clone"), load_pilot=load)
    finally:
        _Student.fingerprint = before


def test_a_full_disk_is_a_clear_error_and_then_goes_on(collected: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(path.stat().st_size for path in (collected / "shards").iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))  # no file may become larger
    try:
        with pytest.raises(DatasetError, match=r"Cannot write to .*File too large.*Finished shards are kept"):
            collect(tmp_path / "data", SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {problem.what for problem in open_dataset(tmp_path / "data", True).verify()} <= {"missing"}
    assert all(not path.name.startswith(".") for path in (tmp_path / "data" / "shards").iterdir())
    collect(tmp_path / "data", SMALL)
    assert _everything(tmp_path / "data") == _everything(collected)


# --- killed and broken off: real processes ----------------------------------------------------------------

MANY = ["--episodes", "9", "--episodes-per-shard", "1", "--aircraft", "3", "--seed", "7"]
WANTED = CollectConfig(world=WorldConfig(aircraft=3), episodes=9, episodes_per_shard=1, seed=7)


def _start(folder: Path, workers: int, *options: str) -> Forked:
    """Start the collector as people do, as the leader of a process group."""
    return Forked(command, "collect", "--out", str(folder), *MANY, *options, "--workers", str(workers))


def _wait_for_shards(process: Forked, folder: Path, count: int) -> None:
    """Wait until so many shards are published."""
    for _ in range(6000):
        if process.poll() is not None or len(list((folder / "shards").glob("0*"))) >= count:
            return
        time.sleep(0.01)
    raise TimeoutError("the collector makes no shards")


def _children(process: Forked) -> Iterator[int]:
    """Return the workers of a collector."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)


def _gone(pid: int) -> bool:
    """Wait until a process is gone."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    manifest, _ = collect(tmp_path_factory.mktemp("undisturbed"), WANTED)
    return manifest.content_hash


def _kill_again_and_again(folder: Path, workers: int, kills: int, seed: int) -> None:
    """Kill the collector at random moments; after each, nothing published may be bad."""
    dice = random.Random(seed)
    for _ in range(kills):
        process = _start(folder, workers)
        there = len(list((folder / "shards").glob("0*"))) if (folder / "shards").exists() else 0
        _wait_for_shards(process, folder, there + dice.randint(0, 2))
        time.sleep(dice.uniform(0, 0.1))
        process.kill()  # the driver only: its workers have to notice by themselves
        process.communicate()
        if (folder / "dataset.json").exists():
            found = open_dataset(folder, allow_incomplete=True).verify()
            assert {problem.what for problem in found} <= {"missing", "unlisted"}, found


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_undisturbed(tmp_path: Path, undisturbed: str) -> None:
    folder = tmp_path / "data"
    _kill_again_and_again(folder, workers=2, kills=2, seed=1)  # of one worker: test_killed_anywhere
    process = _start(folder, 2)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert load_manifest(folder).content_hash == undisturbed
    assert open_dataset(folder).verify() == []


@pytest.mark.slow
def test_workers_killed_at_random_moments_are_clear_errors_and_nothing_is_lost(
    tmp_path: Path, undisturbed: str
) -> None:
    folder, dice, died = tmp_path / "data", random.Random(5), 0
    for attempt in range(20):
        if died and attempt >= 1:
            break
        process = _start(folder, 3)
        there = len(list((folder / "shards").glob("0*"))) if (folder / "shards").exists() else 0
        while process.poll() is None and not list(_children(process)):
            time.sleep(0.01)
        _wait_for_shards(process, folder, there + dice.randint(0, 1))
        time.sleep(dice.uniform(0, 1))
        for worker in list(_children(process))[:1] if process.poll() is None else []:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        _, told = process.communicate(timeout=120)
        assert "Traceback" not in told
        assert process.returncode == (1 if "Error: A worker was killed by signal 9" in told else 0), told
        died += process.returncode
        found = open_dataset(folder, allow_incomplete=True).verify()
        assert {problem.what for problem in found} <= {"missing", "unlisted"}, found
        for shard in list((folder / "shards").glob("0*"))[: 3 * (not process.returncode)]:
            shard.unlink()  # something to do again
    assert died
    assert collect(folder, WANTED)[0].content_hash == undisturbed
    assert not list(folder.rglob(".skyclone-*"))


@pytest.mark.slow
def test_one_truth_for_any_number_of_workers_machines_and_format(tmp_path: Path, undisturbed: str) -> None:
    made, _ = collect(tmp_path / "workers", replace(WANTED, format="hdf5"), workers=3)
    assert made.content_hash == undisturbed
    ranges = ("0:4", "4:9")
    machines = [_start(tmp_path / "at-once", 1, "--format", "hdf5", "--shards", shards) for shards in ranges]
    for machine in machines:
        assert machine.communicate(timeout=120)[1].count("Content hash") == 1
    assert load_manifest(tmp_path / "at-once").content_hash == undisturbed  # complete without another run
    for number, shards in enumerate((range(0, 4), range(4, 8), range(8, 9))):
        collect(tmp_path / f"machine-{number}", WANTED, shards=shards)
    for number in (1, 2):  # merged by hand: the shards of all into the folder of the first
        for shard in (tmp_path / f"machine-{number}" / "shards").iterdir():
            shard.rename(tmp_path / "machine-0" / "shards" / shard.name)
    merged, times = collect(tmp_path / "machine-0", WANTED)
    assert (merged.content_hash, times.made) == (undisturbed, 0)


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=60k none "$1" || exit 77
shift; small=$1; copy=$2; shift 2
"$@"; test $? = 1 || exit 3
"$@"; test $? = 1 || exit 4
ls -A "$small/data/shards" >&2
mount -o remount,size=20m "$small" && "$@" && cp -r "$small/data" "$copy"
"""


@pytest.mark.slow
def test_a_full_disk_of_its_own_is_survived(tmp_path: Path, undisturbed: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    by_hand = [
        sys.executable,
        "-m",
        "skyclone.cli",
        "collect",
        "--out",
        str(small / "data"),
        *MANY,
        "--workers",
        "1",
    ]
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _ON_A_SMALL_DISK, "sh"]
    try:
        done = subprocess.run(
            [*apart, str(small), str(small), str(tmp_path / "data"), *by_hand], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("a file system of its own needs `unshare`")
    if done.returncode in (1, 77) and "Content hash" not in done.stderr and "Cannot write" not in done.stderr:
        pytest.skip(f"this machine allows no file system of its own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("No space left on device. Finished shards are kept; put it right (free space?)") == 2
    assert ".skyclone-" not in done.stderr
    assert "Traceback" not in done.stderr
    assert open_dataset(tmp_path / "data").content_hash == undisturbed
    assert open_dataset(tmp_path / "data").verify() == []


@pytest.mark.slow
@pytest.mark.signals
def test_a_killed_worker_and_ctrl_c_leave_a_folder_to_go_on_with(tmp_path: Path, undisturbed: str) -> None:
    folder = tmp_path / "data"
    process = _start(folder, 2)
    _wait_for_shards(process, folder, 1)
    workers = list(_children(process))
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Error: A worker was killed by signal 9" in told
    assert "Traceback" not in told
    assert all(_gone(worker) for worker in workers)

    process = _start(folder, 2)
    _wait_for_shards(process, folder, len(list((folder / "shards").glob("0*"))) + 1)
    workers = list(_children(process))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Interrupted: finished shards are kept; run the same command again to go on." in told
    assert "Traceback" not in told
    assert all(_gone(worker) for worker in workers)
    assert not list(folder.rglob(".skyclone-*"))

    manifest, _ = collect(folder, WANTED)
    assert manifest.content_hash == undisturbed


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_a_process_of_another_arithmetic_makes_a_shard_only_if_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = collect(tmp_path / "data", SMALL, shards=range(0, 1))
    assert manifest.arithmetic == PORTABLE
    monkeypatch.setattr(compiling, "why_not", lambda: "a node without numba")
    maker = ShardMaker(tmp_path / "data", SMALL, manifest)
    with pytest.raises(
        DatasetError, match=r"this machine would make 00001\.parquet by 'torch .*--other-arithmetic"
    ):
        maker(1)
    made = replace(maker, other_arithmetic=OtherArithmetic.KEEP)(1)
    assert made.entry.arithmetic.startswith("torch ")
    with pytest.raises(DatasetError, match="has no entry, and its rows were made by 'torch"):
        collect(tmp_path / "data", SMALL)
    monkeypatch.undo()
    whole, _ = collect(tmp_path / "data", SMALL, other_arithmetic="remake")
    assert whole.arithmetics == {PORTABLE: 3}


def test_a_policy_s_rows_say_which_processor_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pilot = TeacherPilot(teachers.make("mvp", SMALL.world), SMALL.world)
    wanted = replace(SMALL, pilot="runs/clone")
    manifest, _ = collect(tmp_path / "data", wanted, load_pilot=lambda name: pilot, shards=range(0, 2))
    capability = torch.backends.cpu.get_cpu_capability()
    assert manifest.arithmetic.startswith(f"torch {torch.__version__} {capability} ")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "ABACUS")
    with pytest.raises(DatasetError, match=r"would make 00002\.parquet by 'torch \S+ ABACUS"):
        collect(tmp_path / "data", wanted, load_pilot=lambda name: pilot)
    with pytest.raises(
        ConfigurationError, match=r"unknown other_arithmetic 'mix'\. There are: refuse, remake, keep"
    ):
        collect(tmp_path / "data", wanted, load_pilot=lambda name: pilot, other_arithmetic="mix")
    both, _ = collect(tmp_path / "data", wanted, load_pilot=lambda name: pilot, other_arithmetic="keep")
    assert sorted(both.arithmetics.values()) == [1, 2]


def test_a_world_of_another_reward_has_that_world_s_rewards(tmp_path: Path) -> None:
    """The kernels know the reward `seed` alone."""
    wanted = replace(SMALL, world=replace(SMALL.world, reward="detour"), episodes=1)
    manifest, _ = collect(tmp_path / "data", wanted)
    assert manifest.arithmetic.startswith("torch ")
    table = open_dataset(tmp_path / "data").table()
    world = World(wanted.world, SMALL.seed, [0])
    for step in range(5):
        now = table["step"] == step
        action = torch.zeros((1, 5, 2))
        action[0, table["aircraft"][now]] = torch.from_numpy(
            np.stack((table["pilot_turn"][now], table["pilot_speed"][now]), axis=-1)
        )
        reward = world.step(action).reward[0, table["aircraft"][now]].numpy()
        np.testing.assert_allclose(table["reward"][now], reward, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"world": WorldConfig(max_steps=32_000), "episodes": 1000},  # flights end at their waypoints
        {"world": WorldConfig(aircraft=100), "episodes": 100_000},
    ],
)
def test_what_can_be_done_is_not_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any]):
    monkeypatch.setattr(effort, "memory_bytes", lambda: 8e9)
    monkeypatch.setattr(effort, "free_bytes", lambda folder: 1e12)
    config = CollectConfig(**options)
    config.weigh(tmp_path, 100, 4, lambda line: None)
    config.weigh(tmp_path, 100, None, lambda line: None)  # a cluster's memory is not this machine's


def test_a_refusal_names_the_workers_that_are_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(effort, "memory_bytes", lambda: 8e9)
    config = CollectConfig(world=WorldConfig(aircraft=200), episodes=100_000)
    with pytest.raises(ConfigurationError, match=r"128 at once in each of 96 workers.* or --workers"):
        config.weigh(tmp_path, 500, 96, lambda line: None)


def test_what_is_there_takes_no_more_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    config = CollectConfig(world=WorldConfig(aircraft=2, max_steps=5), episodes=2, episodes_per_shard=1)
    collect(tmp_path / "data", config)
    monkeypatch.setattr(effort, "LONG_S", -1.0)  # everything is said
    lines: list[str] = []
    collect(tmp_path / "data", config, report=lines.append)
    assert lines[0].startswith("Warning: 0 episodes of 2 aircraft")


@pytest.mark.parametrize("stream", [False, True])
def test_who_hovers_is_seen_by_the_others_and_learned_from_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Each row that somebody flew comes once an epoch, and sees what was seen in flight."""
    config, view = WorldConfig(aircraft=6, max_steps=30, scenario="hover:share=0.4"), View("ego", intruders=3)
    teacher = teachers.make("mvp", config)
    monkeypatch.setattr(
        "skyclone.collect.collector.labelling.rules_of", lambda *_: None
    )  # flown in torch, as below
    collect(tmp_path / "data", CollectConfig(config, episodes=6, episodes_per_shard=2, seed=5))
    seen, labelled = [], []
    for first in (0, 2, 4):  # by shard
        for step in fly(World(config, 5, range(first, first + 2)), TeacherPilot(teacher, config)):
            observation = observe_all(step.traffic, view, step.pairs)
            assert step.traffic.is_hovering is not None
            assert (step.traffic.is_flying & ~step.traffic.is_piloted).sum(-1).tolist() == [2] * len(step.slots)
            who = step.traffic.is_piloted
            seen.append(torch.cat([part[who].flatten(1).float() for part in observation], 1))
            labelled.append(step.action[who])
    dataset = open_dataset(tmp_path / "data")
    assert dataset.verify() == []
    loader = Loader.of([dataset], view=view, batch_size=17, stream=stream, buffer_shards=2, seed=1)
    batches = list(loader)
    found = torch.cat(
        [torch.cat([part.flatten(1).float() for part in (*b.observation, b.action)], 1) for b in batches]
    )
    expected = torch.cat((torch.cat(seen), torch.cat(labelled)), 1)
    assert torch.isfinite(found).all()
    assert loader.rows == len(found) == len(expected)
    # the bits depend on how many rows are computed at once, so each row is looked for
    distance, place = cKDTree(found.numpy()).query(expected.numpy())
    assert distance.max() < 1e-4
    assert sorted(place.tolist()) == list(range(len(found)))
    table = dataset.table()
    hovering = int(np.isnan(table["waypoint_east_m"]).sum())
    assert len(found) + hovering == dataset.rows
    assert dataset.manifest.figures["flight_s"] == len(found)
    assert dataset.manifest.figures["rows_in_conflict"] == sum(int(b.in_conflict.sum()) for b in batches)
    survey = labels.survey(dataset)
    assert (survey.rows, survey.hovering) == (len(found), hovering)
    assert survey.rows_by_conflicts.sum() == survey.counts[0].sum() == len(found)
    assert f"(all rows; {hovering:,} of hovering aircraft not counted)" in labels.text(survey, dataset.rows)
