"""Every command, killed at random moments and on disks that are full, ends like one that nothing happened to.

Slow, and different each time; the seed is in the message of what fails, and `SKYCLONE_SEED` sets it. A command runs
in a fork of a process that has imported everything: so most moments are moments of its work.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked_command import Forked, ended, started

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets.files.atomic import is_temporary
from skyclone.train.runs.run_folder import FILE_NAMES, HOLDER_NAME, LOCK_NAME

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")]
SEED = int(os.environ.get("SKYCLONE_SEED", time.time_ns() % 10**6))
FOLDERS_OF_RUNS = {"tensorboard", "rounds", "control", "round"}
FULL = ("the disk is full", "No space left on device")


@dataclass(frozen=True)
class Trial:
    """A command that writes into the folder `out`.

    Attributes:
        command: The command; `{place}` is where its input lies, `{out}` the folder.
        result: Returns what it comes to.
        is_run: Whether the folder is that of a run.
    """

    command: str
    result: Callable[[Path], Any]
    is_run: bool = False


def dataset(out: Path) -> Any:
    manifest = json.loads((out / "dataset.json").read_bytes())
    assert manifest["complete"]
    files = [(out / "shards" / each["name"]).read_bytes() for each in manifest["shards"]]
    assert [hashlib.sha256(data).hexdigest() for data in files] == [each["sha256"] for each in manifest["shards"]]
    return manifest["content_hash"], [each["sha256"] for each in manifest["shards"]]


def weights(out: Path) -> Any:
    summary = json.loads((out / "summary.json").read_bytes())
    kept = {key: summary.get(key) for key in ("heldout_mse", "best_iteration", "best_round", "batches")}
    hashes = [json.loads((out / f"{stem}.json").read_bytes())["weights_sha256"] for stem in ("best", "last")]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return kept, hashes, [line.get("step", line.get("round", line.get("iteration"))) for line in lines]


def evaluation(out: Path) -> Any:
    data = json.loads((out / "evaluation.json").read_bytes())
    return data["contenders"], data["verdict"], (out / "report.html").stat().st_size > 10_000


def comparison(out: Path) -> Any:
    rows = json.loads((out / "compare.json").read_bytes())["rows"]
    clocks = ("samples_per_second", "samples_per_processor_second", "wall_s", "processor_s")
    return [{key: each for key, each in row["metrics"].items() if key not in clocks} for row in rows]


def one_file(out: Path) -> Any:
    (file,) = (path for path in out.iterdir() if not path.name.startswith("."))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files(out: Path) -> Any:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file()
    }


def minari(out: Path) -> Any:
    import h5py

    found: dict[str, str] = {}

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = hashlib.sha256(repr(node[()]).encode()).hexdigest()

    with h5py.File(out / "skyclone" / "test-v0" / "data" / "main_data.hdf5") as file:
        file.visititems(note)
    return found


COLLECT = "collect --episodes 24 --episodes-per-shard 4 --aircraft 4 --workers 1 --scenario random-n:low=2"
TRAIN = "train --data {place}/data --out {out} --model pairwise:width=8:hidden=8 --observation ego:intruders=2"
FINETUNE = "finetune --from {place}/run --out {out} --resume --envs 4 --gate-scenarios 4 --save-every 1"
SHORT = "--bootstrap 100 --world m600:max_steps=60"
TRIALS = {
    "collect": Trial(f"{COLLECT} --out {{out}}", dataset),
    "collect hdf5": Trial(f"{COLLECT} --out {{out}} --format hdf5", dataset),
    "datasets convert": Trial("datasets convert {place}/data {out} --format hdf5", dataset),
    "datasets export-minari": Trial("datasets export-minari {place}/data skyclone/test-v0", minari),
    "datasets select": Trial("datasets select {place}/data --out {out} --episodes 1-22 --where rows>1", dataset),
    "datasets merge": Trial("datasets merge {place}/data {place}/other --out {out}", dataset),
    "datasets export": Trial("datasets export {place}/data {out}/new --to lerobot", files),
    "export-flight": Trial("export-flight {place}/data --episode 9 --place 52,4 --scn {out}/new.scn", one_file),
    "train": Trial(f"{TRAIN} --epochs 3 --batch-size 128 --resume", weights, is_run=True),
    "finetune": Trial(f"{FINETUNE} --steps 400 --horizon 8 --warmup 1 --gate-every 3", weights, is_run=True),
    "finetune analytic": Trial(
        f"{FINETUNE} --method analytic --steps 400 --window 4 --gate-every 10", weights, is_run=True
    ),
    "dagger": Trial(
        "dagger --from {place}/run --data {place}/data --out {out} --resume --rounds 1 --episodes 4 --probe 4 "
        "--gate-scenarios 4 --batch-size 256 --control",
        weights,
        is_run=True,
    ),
    "evaluate": Trial(
        f"evaluate {{place}}/run --out {{out}} --scenarios 9 --aircraft 4 --batch 3 {SHORT}", evaluation
    ),
    "report": Trial("report {place}/report --out {out}/report.html", one_file),
    "report animation": Trial("report {place}/report --animation {out}/replay.gif", one_file),
    "compare": Trial(
        "compare --data {place}/data --out {out} --models pairwise:width=8:hidden=8,deepsets:width=8:hidden=8 "
        "--observation ego:intruders=2 --seeds 2 --steps 20 --seconds 0 --batch-size 64 --scenarios 3 "
        "--bootstrap 100",
        comparison,
    ),
    "export": Trial("export {place}/run --onnx {out}/policy.onnx", one_file),
}
NEEDS = {"export": "onnxscript", "datasets export-minari": "minari"}


class Bench:
    """Where the commands are tried.

    Args:
        place: A folder for everything.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.random = place, random.Random(SEED)
        self.kills = 0
        self.said = place / "said.txt"
        self.environment: dict[str, str] = {}
        self.known: dict[str, tuple[Any, float, int]] = {}
        world = WorldConfig(aircraft=4, max_steps=60, scenario="random-n")
        collect(place / "data", CollectConfig(world=world, episodes=24, episodes_per_shard=4))
        collect(place / "other", CollectConfig(world=world, seed=1, episodes=6, episodes_per_shard=4))
        self.do(f"{TRAIN} --epochs 1".format(place=place, out=place / "run"))
        self.do(f"evaluate {place}/run --out {place}/report --scenarios 2 --aircraft 4 {SHORT}")

    def do(self, command: str) -> None:
        assert self.run(command.split()) == 0, self.said.read_text()

    def run(self, arguments: list[str]) -> int:
        """Run a command to its end; return the exit code."""
        return ended(self.started(arguments), self.said)

    def started(self, arguments: list[str]) -> Forked:
        """Start a command."""
        return started(arguments, self.said, self.environment)

    def arguments(self, name: str, out: Path) -> list[str]:
        """Return the arguments of a trial."""
        out.mkdir(parents=True, exist_ok=True)
        self.environment = {"MINARI_DATASETS_PATH": str(out)}
        return TRIALS[name].command.format(place=self.place, out=out).split()

    def undisturbed(self, name: str) -> tuple[Any, float, int]:
        """Return what a command comes to, the seconds it takes, and the bytes it leaves."""
        if name not in self.known:
            out = self.place / "undisturbed" / name.replace(" ", "-")
            start = time.perf_counter()
            assert self.run(self.arguments(name, out)) == 0, self.said.read_text()
            seconds = time.perf_counter() - start
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            self.known[name] = TRIALS[name].result(out), seconds, size
        return self.known[name]

    def killed(self, name: str, times: int) -> None:
        """Kill a command several times, let it end, and compare."""
        result, seconds, _ = self.undisturbed(name)
        out = self.place / f"killed-{name.replace(' ', '-')}-{self.kills}"
        moments = []
        for _ in range(times):
            process = self.started(self.arguments(name, out))
            moments.append(round(self.random.uniform(0, 1.1 * seconds), 3))
            time.sleep(moments[-1])
            kill(process)
            code = ended(process, self.said)
            assert code in (0, -signal.SIGKILL), (SEED, name, moments, self.said.read_text()[-3000:])
            self.kills += code != 0
        self.finish(name, out, result, moments)
        shutil.rmtree(out)

    def finish(self, name: str, out: Path, result: Any, how: Any) -> None:
        """Let a command end; assert that it comes to the same, and leaves nothing half-written."""
        self.said.write_text("")
        assert self.run(self.arguments(name, out)) == 0, (SEED, name, how, self.said.read_text()[-3000:])
        assert TRIALS[name].result(out) == result, (SEED, name, how)
        left = [path for path in out.rglob("*") if is_temporary(path.name) or path.name in (LOCK_NAME, HOLDER_NAME)]
        assert not left, (SEED, name, how, left)
        if TRIALS[name].is_run:
            assert {path.name for path in out.iterdir()} <= {*FILE_NAMES, *FOLDERS_OF_RUNS}, name

    def filled(self, name: str) -> None:
        """Let a command meet a full disk, enlarge it, let it end, and compare."""
        result, _, size = self.undisturbed(name)
        share = self.random.uniform(0.02, 0.98)
        with small_disk(self.place / "disk", int(size * share)) as (disk, enlarge):
            self.said.write_text("")
            code = self.run(self.arguments(name, disk / "out"))
            said = self.said.read_text()
            assert "Traceback" not in said, (SEED, name, share, said[-3000:])
            line = said.splitlines()[-1] if said else ""
            is_said = code == 1 and line.startswith("Error: ") and any(words in line for words in FULL)
            assert code == 0 or is_said, (SEED, name, share, code, said[-3000:])
            enlarge()
            self.finish(name, disk / "out", result, share)


def kill(process: Forked) -> None:
    """Kill a process and those it started; one that has not become the leader of a group has started none."""
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Mount a file system of so many bytes; yields it, and what enlarges it."""
    place.mkdir(exist_ok=True)
    options = f"size={max(size, 4096) // 1024}k"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place, lambda: subprocess.run(["mount", "-o", "remount,size=1g", place], check=True)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    print(f"SKYCLONE_SEED={SEED}")
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("name", TRIALS)
def test_killed_at_a_random_moment_and_on_a_full_disk(bench: Bench, name: str) -> None:
    """One test of both: what is left undisturbed is worth its time twice."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    bench.killed(name, times=1)
    bench.filled(name)
