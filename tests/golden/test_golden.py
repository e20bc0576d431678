"""What skyclone made at commit 1f5f1c6 opens, flies and goes on as it did then; see README.md beside this file.

Only the command line and the documented imports are used, so that modules may move. Numbers are compared with those
of the old code if they were recorded on this processor, with these versions; elsewhere only their names and places.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import click
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from skyclone.collect import teachers
from skyclone.collect.environments import SectorVectorEnv
from skyclone.datasets import Dataset, open_dataset
from skyclone.train import load_policy

EXPECTED = Path(__file__).with_name("expected.json")
RECORDS = os.environ.get("GOLDEN_RECORD") == "1"
"""Write what is found instead of comparing it: for the old code only."""
CHANGING = r"second|(wall|processor)_s$|^(code|packages|command|path|runs|diagnosis|answer|notes|verdict)$"
"""Keys whose values depend on the clock, the version, or are sentences."""
PRETRAINED = ("pretrained:clone",)  # `pretrained:tuned` has other weights since the evening of 2026-11-26
RUNS = ("clone", "clone-part", "ppo", "ppo-part", "analytic", "analytic-part", "dagger")
UNFINISHED = ("clone-part", "dagger-part")
NEW_INITIAL_WEIGHTS = ("attention-", "lstm")
"""Networks whose matrices for intruders are drawn larger since 2026-11-26: trained anew they end elsewhere."""
OF_ANOTHER_OBJECTIVE = ("ppo-part", "analytic-part")
"""Runs of fine-tuning before it had one objective (2026-11-26): what they began cannot be gone on with."""
COLLECTED = {
    "mvp": "--aircraft 8",
    "rvo, noise": "--aircraft 6 --teacher rvo --noise 0.1 --scenario circle",
    "a policy flies": "--aircraft 6 --teacher mvp:margin=1.15 --pilot pretrained:clone --scenario crossing",
}
WRONG = (
    "fly",
    "collect",
    "collect --out x --aircraft 0",
    "collect --out x --height 3",
    "collect --out x --teacher best",
    "collect --out x --scenario sea",
    "collect --out x --shards 3:1",
    "collect --out flights --episodes 6 --seed 4",
    "datasets info nowhere",
    "datasets convert flights x --format csv",
    "train --out x",
    "train --out x --data nowhere",
    "train --out clone --data flights",
    "train --out x --data flights --model wings",
    "train --out x --data flights --observation radar",
    "train --out clone-part --resume --lr 0.5",
    "finetune --out x",
    "finetune --out x --from nowhere",
    "finetune --out x --from clone --window 3",
    "dagger --out x --from clone",
    "dagger --out x --from clone --data flights --share 2",
    "evaluate nowhere",
    "evaluate pretrained:best",
    "evaluate flights/dataset.json",
    "evaluate --baselines ,",
    "report nowhere",
    "compare --data flights --out x --seeds none",
    "export nowhere --onnx x.onnx",
)


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    stdout: str
    stderr: str


def call(*arguments: str) -> Answer:
    """Run `python -m skyclone ...` in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with mock.patch.object(sys, "argv", ["skyclone", *arguments]):
                runpy.run_module("skyclone", run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def processor() -> str:
    """Return what the last bits of a result depend on."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    keys = ("model name", "cpu family", "model", "stepping")
    found = [match[1] for key in keys if (match := re.search(rf"^{key}\s*: (.*)$", about, re.M))]
    return f"{' '.join(found)}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def differences(found: Any, expected: Any, is_exact: bool, where: str = "") -> list[str]:
    """Return where something is missing or differs; more than was there then is no difference."""
    if isinstance(expected, dict) and isinstance(found, dict):
        missing = [f"{where}/{key}: missing" for key in expected if key not in found]
        both = [key for key in expected if key in found]
        return missing + [
            text for key in both for text in differences(found[key], expected[key], is_exact, f"{where}/{key}")
        ]
    if not is_exact:
        return []
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(found, expected))
        return [text for i, pair in pairs for text in differences(*pair, is_exact, f"{where}/{i}")]
    if isinstance(expected, float) and isinstance(found, float):
        same = math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    else:
        same = found == expected
    return [] if same else [f"{where}: expected {expected!r}, got {found!r}"]


def lasting(data: Any) -> Any:
    """Return JSON without what changes from one time to the next."""
    if isinstance(data, dict):
        return {key: lasting(value) for key, value in data.items() if not re.search(CHANGING, key)}
    return [lasting(each) for each in data] if isinstance(data, list) else data


class Golden:
    """What is expected, by name, and under that by processor (`any`: the same on all of them)."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Any]] = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}

    def check(self, name: str, found: Any, place: str | None = None) -> None:
        """Compare, or record."""
        found, place = json.loads(json.dumps(found)), place or processor()
        if RECORDS:
            self.data.setdefault(name, {})[place] = found
            return
        expected = self.data[name]
        is_exact = place in expected
        assert not differences(found, expected[place] if is_exact else next(iter(expected.values())), is_exact)

    def near(self, name: str, found: np.ndarray) -> None:
        """Compare an array: to the bit on a processor that is known, else to 1e-5 of 1."""
        flat = [float(each) for each in found.ravel()]
        self.check(name, flat)
        if not RECORDS:
            for values in self.data[name].values():
                np.testing.assert_allclose(flat, values, rtol=0, atol=1e-5)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@pytest.fixture(scope="module")
def golden() -> Iterator[Golden]:
    expected = Golden()
    yield expected
    if RECORDS:
        parts = []
        for name, places in sorted(expected.data.items()):
            values = [f" {json.dumps(place)}:{_compact(value)}" for place, value in sorted(places.items())]
            parts.append(f"{json.dumps(name)}:{{\n" + ",\n".join(values) + "}")
        lines = ",\n".join(parts)
        EXPECTED.write_text(f"{{\n{lines}\n}}\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the old code made, unpacked; for tests that only read it."""
    folder = tmp_path_factory.mktemp("made")
    with tarfile.open(Path(__file__).with_name("made.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to go on in, which is the current folder."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "copy"


@pytest.fixture
def again(copy: Path) -> Callable[..., Answer]:
    """Give a command of the old code again."""
    commands: dict[str, str] = json.loads((copy / "commands.json").read_text())

    def give(name: str, *more: str) -> Answer:
        answer = call(*commands[name].split(), *more)
        assert answer.code == 0, answer.stderr
        return answer

    return give


def place_of(dataset: Dataset) -> str | None:
    """Return where a dataset has the same content: what the kernels fly, everywhere."""
    return "any" if dataset.manifest.arithmetic == "portable-1" else None


def weights(path: Path) -> str:
    """Return the hash of a checkpoint's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name}{tensor.shape}{tensor.dtype}".encode() + tensor.tobytes())
    return digest.hexdigest()


def description(path: Path) -> dict[str, Any]:
    """Return the description in a checkpoint's header."""
    with safe_open(path, "np") as file:
        return {key: json.loads(text) for key, text in file.metadata().items()}


def left_by(run: Path) -> dict[str, Any]:
    """Return what a finished run left: weights, summary and last figures."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {
        "weights": {which: weights(run / f"{which}.safetensors") for which in ("best", "last")},
        "summary": lasting(json.loads((run / "summary.json").read_text())),
        "iterations": len(lines),
        "metrics": lasting(json.loads(lines[-1])),
    }


# --- the command line -----------------------------------------------------------------------------


def front_door() -> click.Group:
    """Return the group that `python -m skyclone` runs, wherever it is defined."""
    found: list[click.Group] = []
    with mock.patch.object(click.Command, "main", lambda self, *_, **__: found.append(self)):
        call()
    return found[0]


def described(parameter: click.Parameter, context: click.Context) -> dict[str, Any]:
    """Return what a user can give, and what counts if nothing is given."""
    info = parameter.to_info_dict()
    is_path = isinstance(parameter.type, click.Path)  # click's, or ours, which takes all names but an empty one
    kind = "Path" if is_path else info["type"]["param_type"]
    is_clicks = is_path or type(parameter.type).__module__.startswith("click.")
    record = parameter.get_help_record(context) or ("", "")
    shown = re.search(r"default: ([^];]*)", record[1])
    return {
        "opts": sorted([*parameter.opts, *parameter.secondary_opts]),
        "kind": re.sub("Range$", "", kind) if is_clicks and kind != "Func" else "of our own",
        "choices": list(info["type"].get("choices") or []),
        "default": None if info["default"] is None else str(info["default"]),
        "shown": re.findall(r"-?\d[\d.e+-]*", shown[1]) if shown else [],
        "multiple": info["multiple"],
        "required": info["required"],
        "is_flag": info.get("is_flag", False),
        "nargs": info["nargs"],
    }


def tree(command: click.Command, name: str = "skyclone") -> dict[str, Any]:
    """Return all commands below one, and their options and arguments by name."""
    context = click.Context(command, info_name=name)
    parameters = [each for each in command.get_params(context) if each.opts != ["--help"]]
    found = {name: {max(each.opts, key=len): described(each, context) for each in parameters}}
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            below = command.get_command(context, child)
            assert below is not None
            found |= tree(below, f"{name} {child}")
    return found


def test_no_option_is_gone_and_no_default_has_changed(golden: Golden) -> None:
    golden.check("options", tree(front_door()), "any")


@pytest.mark.parametrize("line", WRONG)
def test_wrong_use_ends_with_the_same_exit_code(line: str, copy: Path, golden: Golden) -> None:
    answer = call(*line.split())
    said = [text for text in answer.stderr.splitlines() if not text.startswith(("Usage:", "Try ")) and text]
    assert "Traceback" not in answer.stderr
    assert said
    golden.check(f"exit code: {line}", answer.code, "any")
    if RECORDS:  # for people: messages may be put better
        golden.data[f"exit code: {line}"]["message then"] = said[0]


# --- files of the old code ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flights", "crossing", "dagger-part/rounds/0/probe", "dagger-part/rounds/1/data"])
def test_a_dataset_opens_and_is_sound(name: str, made: Path, golden: Golden) -> None:
    dataset = open_dataset(made / name)
    assert dataset.verify() == []
    assert "all sound" in call("datasets", "verify", str(made / name)).stdout
    answer = call("datasets", "info", str(made / name), "--json")
    golden.check(f"info: {name}", lasting(json.loads(answer.stdout)), "any")
    assert dataset.content_hash == json.loads(answer.stdout)["content_hash"]


def observed(view: str) -> tuple[np.ndarray, ...]:
    """Return what 20 aircraft observe after three steps; rounded, so that it is the same on every processor."""
    envs = SectorVectorEnv(num_envs=1, view=view)
    observation, infos = envs.reset(seed=4)
    for _ in range(3):
        observation, _, _, _, infos = envs.step(infos["teacher_action"])
    ownship, intruders = (np.round(observation[key], 3) for key in ("ownship", "intruders"))
    return ownship, intruders, observation["is_present"]


def checkpoints(made: Path) -> dict[str, tuple[str, str]]:
    """Return all checkpoints by name: where they are, and which of them."""
    found = {name: (name, "best") for name in PRETRAINED}
    for name in RUNS:
        found |= {f"{name}, {which}": (str(made / name), which) for which in ("best", "last")}
    compared = sorted((made / "compared" / "runs").glob("*/*/*/*"))
    return found | {path.parents[2].name: (str(path), "best") for path in compared}


def test_every_checkpoint_acts_as_it_did(made: Path, golden: Golden) -> None:
    found = checkpoints(made)
    assert len(found) >= 1 + 2 * len(RUNS) + 9
    for name, (run, which) in found.items():
        policy = load_policy(run, which)
        action = policy.act(observed(str(policy.view)))[0]
        golden.near(f"actions: {name}", action if name in PRETRAINED else action[:4])


def test_the_pretrained_weights_are_the_same(golden: Golden) -> None:
    for name in PRETRAINED:
        digest = hashlib.sha256()
        for key, tensor in sorted(load_policy(name).network.state_dict().items()):
            digest.update(key.encode() + tensor.numpy().tobytes())
        golden.check(f"weights: {name}", digest.hexdigest(), "any")


def test_the_teachers_act_as_they_did(golden: Golden) -> None:
    for name, parameters in (("none", {}), ("mvp", {"margin": 1.15, "lookahead_s": 20}), ("rvo", {})):
        assert teachers.make(name, **parameters)
        text = ":".join([name, *(f"{key}={value}" for key, value in parameters.items())])
        envs = SectorVectorEnv(num_envs=1, teacher=text)
        _, infos = envs.reset(seed=4)
        for _ in range(10):
            _, reward, _, _, infos = envs.step(np.round(infos["teacher_action"], 2))
        golden.near(f"teacher: {text}", np.concatenate([infos["teacher_action"].ravel(), reward]))


def test_the_environment_of_a_minari_dataset_is_recovered(made: Path, golden: Golden) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    metadata = json.loads((made / "minari/golden/flights-v0/data/metadata.json").read_text())
    with gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(metadata["env_spec"])) as environment:
        observation, infos = environment.reset(seed=3, options={"episode": 1, "aircraft": 2})
        for _ in range(5):
            observation, reward, _, _, infos = environment.step(np.round(infos["teacher_action"], 2))
        golden.near("minari: observation", np.append(observation, reward))


@pytest.mark.slow
def test_an_installed_bluesky_plugin_still_works(copy: Path, again: Callable[..., Answer]) -> None:
    pytest.importorskip("bluesky")
    path = copy / "bluesky" / "plugins" / "skyclone.py"
    environment = {**os.environ, "HOME": str(copy), "XDG_CONFIG_HOME": str(copy), "OMP_NUM_THREADS": "1"}
    path.rename(copy / "then.py")
    again("bluesky")
    code = "import runpy, sys; print([runpy.run_path(path)['init_plugin']() for path in sys.argv[1:]])"
    command = [sys.executable, "-c", code, str(copy / "then.py"), str(path)]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert str([{"plugin_name": "SKYCLONE", "plugin_type": "sim"}] * 2) in done.stdout, done.stderr


# --- going on, and doing it again -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_run_goes_on_to_the_same_end(
    name: str, copy: Path, again: Callable[..., Answer], golden: Golden
) -> None:
    assert not (copy / name / "summary.json").exists()
    again(name, "--resume")
    golden.check(f"resumed: {name}", left_by(copy / name))


@pytest.mark.parametrize("name", OF_ANOTHER_OBJECTIVE)
def test_a_run_of_another_objective_is_refused_in_words_and_kept(name: str, copy: Path) -> None:
    before = {path: path.read_bytes() for path in (copy / name).glob("*.*")}
    answer = call("finetune", "--out", name, "--resume")
    assert answer.code == 1
    assert "written by another version of skyclone" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert {path: path.read_bytes() for path in (copy / name).glob("*.*")} == before


@pytest.mark.slow
def test_a_damaged_log_of_an_unfinished_run_is_no_obstacle(copy: Path, again: Callable[..., Answer]) -> None:
    log = copy / "clone-part" / "metrics.jsonl"
    log.write_text(log.read_text()[40:])
    again("clone-part", "--resume")
    assert [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flights", "crossing", "clone", "ppo", "analytic", "dagger"])
def test_the_same_command_makes_the_same(
    name: str, copy: Path, again: Callable[..., Answer], golden: Golden
) -> None:
    shutil.move(name, "then")
    again(name)
    if name in ("flights", "crossing"):
        dataset = open_dataset(copy / name)
        golden.check(f"made: {name}", dataset.content_hash, place_of(dataset))
        return
    golden.check(f"made: {name}", left_by(copy / name))
    assert {path.name for path in Path("then").iterdir()} <= {path.name for path in (copy / name).iterdir()}
    if name != "dagger":  # recipes, one reward for both methods, and other defaults of PPO, since 2026-11-26
        return
    was, now = (json.loads((folder / "best.json").read_text()) for folder in (Path("then"), copy / name))
    assert not differences(now, was, is_exact=False)
    was, now = (json.loads((folder / "config.json").read_text()) for folder in (Path("then"), copy / name))
    assert not differences(now["config"], was["config"], is_exact=True)


@pytest.mark.parametrize("name", ["flights", "crossing"])
def test_a_dataset_of_the_older_arithmetic_is_used_as_it_is_and_healed_only_as_one_says(
    name: str, copy: Path
) -> None:
    """It was made before the kernels, in torch, and which processor made it was not written down."""
    command = json.loads((copy / "commands.json").read_text())[name].split()
    assert call(*command).code == 0  # there is nothing to make
    assert call("datasets", "verify", name).code == 0
    before = open_dataset(name).content_hash
    shard = sorted((copy / name / "shards").iterdir())[0]
    shard.unlink()
    answer = call(*command)
    assert answer.code == 1
    assert "its rows were made by the older arithmetic, which depended on the processor, and this" in answer.stderr
    assert call(*command, "--other-arithmetic", "keep").code == 0
    mixed = open_dataset(name)
    assert mixed.verify() == []
    assert len(mixed.manifest.arithmetics) == 2
    assert call(*command, "--other-arithmetic", "remake").code == 0
    remade = open_dataset(name)
    assert remade.verify() == []
    assert len(remade.manifest.arithmetics) == 1
    assert remade.content_hash not in (before, mixed.content_hash)


@pytest.mark.slow
def test_the_header_of_a_checkpoint_is_laid_out_as_it_was(copy: Path, again: Callable[..., Answer]) -> None:
    """Others read it: the older code, and whoever opens a checkpoint with safetensors alone."""
    was = description(copy / "clone" / "best.safetensors")
    shutil.move("clone", "then")
    again("clone")
    assert not differences(description(copy / "clone" / "best.safetensors"), was, is_exact=False)


@pytest.mark.slow
def test_an_evaluation_says_the_same(copy: Path, again: Callable[..., Answer], golden: Golden) -> None:
    before = json.loads((copy / "evaluated" / "evaluation.json").read_text())
    assert call("report", "evaluated", "--out", "old.html").code == 0
    page = Path("old.html").read_text()
    found = json.loads(again("evaluated").stdout)
    before["runs"].pop("pretrained:tuned")  # other weights ship since: what is said of how they were made is theirs
    assert not differences(found, before, is_exact=False)
    figures = {key: found[key] for key in ("contenders", "differences", "nearest_m", "warnings")}
    attention = json.dumps(found["attention"], sort_keys=True).encode()
    golden.check("evaluated", {**figures, "attention": hashlib.sha256(attention).hexdigest()})
    assert json.loads((copy / "evaluated" / "evaluation.json").read_text()) == found
    for name in before["contenders"]:
        assert name in page
    others = call("evaluate", *RUNS[2::2], "--baselines", "mvp", "--scenarios", "2", "--aircraft", "4", "--json")
    golden.check("evaluated: tuned", json.loads(others.stdout)["contenders"])


@pytest.mark.slow
def test_a_comparison_keeps_the_runs_of_other_code_and_says_the_same(
    copy: Path, again: Callable[..., Answer]
) -> None:
    before = sorted(path.read_bytes() for path in copy.glob("compared/runs/**/best.safetensors"))
    then = json.loads((copy / "compared" / "compare.json").read_text())
    found = json.loads(again("compared").stdout)
    assert before == sorted(path.read_bytes() for path in copy.glob("compared/runs/**/*.old-1/best.safetensors"))
    assert not differences(lasting(found), lasting(then), is_exact=False)
    of_old_weights = [not row["model"].startswith(NEW_INITIAL_WEIGHTS) for row in found["rows"]]
    assert sum(of_old_weights) == 5
    for one, other in zip(found["rows"], then["rows"], strict=True):
        if not one["model"].startswith(NEW_INITIAL_WEIGHTS):
            was, now = (row["metrics"]["heldout_mse"]["value"] for row in (other, one))
            assert now == pytest.approx(was, rel=1e-3)  # to the bit on the processor that made it
    assert found["answer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", COLLECTED)
def test_a_dataset_has_the_same_content(name: str, copy: Path, golden: Golden) -> None:
    options = f"--out collected --episodes 6 --seed 3 --workers 1 {COLLECTED[name]}"
    assert call("collect", *options.split()).code == 0
    dataset = open_dataset(copy / "collected")
    found = {"content_hash": dataset.content_hash, "rows": dataset.rows}
    golden.check(f"collected: {name}", found, place_of(dataset))


@pytest.mark.slow
def test_a_dataset_in_another_format_and_for_minari(
    copy: Path, tmp_path: Path, again: Callable[..., Answer], golden: Golden
) -> None:
    for source, form in (("flights", "hdf5"), ("crossing", "parquet")):
        assert call("datasets", "convert", source, f"{source}-2", "--format", form).code == 0
        assert open_dataset(copy / f"{source}-2").content_hash == open_dataset(copy / source).content_hash
    pytest.importorskip("minari")
    h5py = pytest.importorskip("h5py")
    again("minari")
    data = tmp_path / "minari" / "golden" / "flights-v0" / "data"
    was = json.loads((copy / "minari/golden/flights-v0/data/metadata.json").read_text())
    now = json.loads((data / "metadata.json").read_text())
    changing = {"skyclone_code", "minari_version", "description", "env_spec", "dataset_size"}
    assert {key: now[key] for key in was if key not in changing} == {
        key: was[key] for key in was if key not in changing
    }
    with h5py.File(data / "main_data.hdf5") as file:
        golden.near("minari: flights", file["episode_3/observations"][-1])
