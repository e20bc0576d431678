import json
import sys
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import FEATURE_NAMES, View
from skyclone.evaluate.deployment import onnx_export
from skyclone.evaluate.deployment.cli import export
from skyclone.evaluate.deployment.onnx_export import Export, ParityError, Speed, export_onnx, unit_of
from skyclone.train import Policy, checkpoint, load_policy, networks

pytestmark = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnxruntime")), reason="needs the extra skyclone[onnx]"
)

VIEWS = ("seed", "ego:intruders=8", "cpa")
WORLD = WorldConfig(aircraft=9, turn_rad=0.5)


def make_run(folder: Path, model: str = "pairwise:hidden=8:width=8", view: str = "ego:intruders=3") -> Path:
    """Write a policy that has learned nothing, with actions large enough to be clamped now and then."""
    folder.mkdir(parents=True, exist_ok=True)
    name, parameters = networks.parse(model)
    network = networks.make(name, View.parse(view), seed=3, **parameters)
    with torch.no_grad():
        network.action[-1].weight.mul_(8.0)  # type: ignore[index, operator, union-attr]
    checkpoint.save(
        folder / "best", network, View.parse(view), {"stage": "clone", "world": WORLD.to_json(), "teacher": "mvp"}
    )
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run, exported by the command."""
    folder = tmp_path_factory.mktemp("export")
    make_run(folder / "run")
    done = CliRunner().invoke(export, [str(folder / "run"), "--onnx", str(folder / "clone.onnx"), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return folder, json.loads(done.stdout)


def session_of(path: Path) -> Any:
    import onnxruntime  # not above: it takes a second, and most processes only collect this file

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def act(session: Any, observation: Observation) -> np.ndarray:
    inputs = zip(("ownship", "intruders", "mask"), observation)
    return np.asarray(session.run(None, {name: tensor.numpy() for name, tensor in inputs})[0])


def test_it_acts_like_the_policy_for_any_number_of_rows_and_intruders(
    exported: tuple[Path, dict[str, Any]],
) -> None:
    session, policy = session_of(exported[0] / "clone.onnx"), load_policy(exported[0] / "run")
    generator = torch.Generator().manual_seed(0)
    clamped = 0
    for rows, count in ((0, 3), (1, 0), (1, 1), (7, 2), (300, 33)):
        observation = Observation(
            torch.randn(rows, 7, generator=generator),
            torch.randn(rows, count, 5, generator=generator),
            torch.rand(rows, count, generator=generator) < 0.5,
        )
        found, expected = act(session, observation), policy.act(observation).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        clamped += int((np.abs(found) == 1).sum())
    assert 0 < clamped < 600, "some actions are clamped, not all"


def test_what_the_command_says(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, said = exported
    assert said["size"] == (folder / "clone.onnx").stat().st_size
    assert all(0 < said["difference"][kind] < 1e-5 for kind in ("flown", "random"))
    assert said["rows"] == 2 * 5 * 1001
    assert [speed["rows"] for speed in said["speed"]] == [1, 1000]
    assert all(0 < speed[key] < 1000 for speed in said["speed"] for key in ("onnxruntime_ms", "torch_ms"))
    assert sorted(path.name for path in folder.iterdir()) == ["clone.onnx", "run"]


def test_what_people_read(exported: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = exported
    speed = (Speed(1, 8, 0.0714, 0.2), Speed(1000, 8, 11.6, 12.1))
    result = Export(Path("clone.onnx"), 200_359, {"flown": 7.7e-7, "random": 1e-4}, 10_010, speed)
    monkeypatch.setattr(onnx_export, "export_onnx", lambda policy, path: result)
    done = CliRunner().invoke(export, [str(folder / "run"), "--onnx", "clone.onnx"])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "clone.onnx: 200,359 bytes",
        "  in:  ownship (M, 7) float, intruders (M, K, 5) float, mask (M, K) bool",
        "  out: action (M, 2) float in [-1, 1]: turn, speed change",
        "  largest difference from torch: 7.7e-07 on flown and 1.0e-04 on random observations, 10,010 rows",
        "  M = 1, K = 8: onnxruntime 0.071 ms, torch 0.200 ms (one thread)",
        "  M = 1,000, K = 8: onnxruntime 11.600 ms, torch 12.100 ms (one thread)",
    ]


def test_the_file_says_what_it_is(exported: tuple[Path, dict[str, Any]]) -> None:
    session = session_of(exported[0] / "clone.onnx")
    shapes = {part.name: part.shape for part in (*session.get_inputs(), *session.get_outputs())}
    assert [len(shapes[name]) for name in ("ownship", "intruders", "mask", "action")] == [2, 3, 2, 2]
    assert (shapes["ownship"][1], shapes["intruders"][2], shapes["action"][1]) == (7, 5, 2)
    facts = session.get_modelmeta().custom_metadata_map
    policy = load_policy(exported[0] / "run")
    assert facts["skyclone.weights_sha256"] == policy.meta["weights_sha256"]
    assert facts["skyclone.teacher"] == "mvp"
    assert View.from_json(json.loads(facts["skyclone.observation"])) == policy.view
    assert json.loads(facts["skyclone.world"]) == WORLD.to_json()
    assert json.loads(facts["skyclone.network"]) == policy.network.spec
    assert json.loads(facts["skyclone.action"])["turn"] == "0.5 rad, positive to the right"
    assert tuple(json.loads(facts["skyclone.intruders"])) == FEATURE_NAMES["ego"][1]


def test_units() -> None:
    view = View("cpa", length_m=500.0, speed_mps=10.0, lookahead_s=20.0)
    own, intruder = ([unit_of(name, view) for name in names] for names in FEATURE_NAMES["cpa"])
    assert own == ["1", "1", "10.0 m/s", *["500.0 m"] * 4]
    assert intruder == [*["500.0 m"] * 3, *["10.0 m/s"] * 2, "20.0 s", "500.0 m", "10.0 m/s", "1"]
    assert [unit_of(name, View()) for name in FEATURE_NAMES["seed"][0]][3:] == ["935.0 m"] * 2 + ["18.0 m/s"] * 2


def test_one_wrong_weight_and_nothing_is_published(
    exported: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = (exported[0] / "clone.onnx").read_bytes()
    monkeypatch.setattr(onnx_export, "_translate", lambda policy, onnx: model)
    policy = load_policy(exported[0] / "run")
    with torch.no_grad():
        policy.network.get_parameter("action.2.weight")[0, 0] += 1e-3
    (tmp_path / "clone.onnx").write_bytes(older := model + b"\x0a")
    words = r"act like the network in float64 within \S+, got a difference of .*Nothing was written"
    with pytest.raises(ParityError, match=words):
        export_onnx(policy, tmp_path / "clone.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [older]


@pytest.mark.parametrize("name", [pytest.param("pretrained:clone", marks=pytest.mark.slow), "pretrained:tuned"])
def test_whatever_weight_is_wrong_it_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "COUNTS", (5,))
    policy = load_policy(name)

    def sound(observation: Observation) -> np.ndarray:
        return np.asarray(policy.act(observation))

    assert onnx_export._compare(policy, sound) == ({"flown": 0.0, "random": 0.0}, 2 * 1001)
    for parameter in policy.network.parameters():
        wrong = Policy(deepcopy(policy.network), policy.view)
        with torch.no_grad():
            parameter += 1e-3
        with pytest.raises(ParityError):
            onnx_export._compare(policy, lambda seen, wrong=wrong: wrong.act(seen).numpy())
        with torch.no_grad():
            parameter -= 1e-3


@pytest.mark.parametrize(
    "spoil", [lambda action: action * np.nan, lambda action: action[:, :1]], ids=["nan", "too few"]
)
def test_actions_that_are_no_actions(spoil: Any) -> None:
    policy = Policy(networks.make("mlp", View.parse("ego:intruders=3"), hidden=8), View.parse("ego:intruders=3"))
    with pytest.raises(ParityError, match="got a difference of inf for 1 flown observations of 0 intruders"):
        onnx_export._compare(policy, lambda observation: spoil(policy.act(observation).numpy()))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    policy = load_policy(make_run(tmp_path / "run"))
    with pytest.raises(ConfigurationError, match=rf"{package} is not installed.*pip install 'skyclone\[onnx\]'"):
        export_onnx(policy, tmp_path / "clone.onnx")


def test_a_checkpoint_is_not_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = (run / "best.safetensors").read_bytes()
    with pytest.raises(ConfigurationError, match=r"best.safetensors: expected no file or an ONNX file"):
        export_onnx(load_policy(run), run / "best.safetensors")
    assert (run / "best.safetensors").read_bytes() == before


def test_a_folder_or_no_folder(tmp_path: Path) -> None:
    policy = load_policy(make_run(tmp_path / "run"))
    for path in (tmp_path, tmp_path / "nowhere" / "clone.onnx"):
        with pytest.raises(ConfigurationError, match="expected a file in a folder that is there for --onnx, got"):
            export_onnx(policy, path)


MODELS = [*networks.NAMES, "deepsets:pooling=max"]
EXPORTED = {(model, VIEWS[index % len(VIEWS)]) for index, model in enumerate(MODELS)}  # each model, each view


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrained:robust", "pretrained:tuned"])
def test_what_is_published_is_exported(tmp_path: Path, name: str) -> None:
    result = export_onnx(load_policy(name), tmp_path / "out.onnx")
    assert result.size == (tmp_path / "out.onnx").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize(("model", "view"), sorted(EXPORTED))
def test_every_variant_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, view: str) -> None:
    """Parity is checked in the export itself: no intruder to sixty; of what is published with a thousand rows."""
    monkeypatch.setattr(onnx_export, "ROWS", (1, 100))
    policy = load_policy(make_run(tmp_path / "run", model, view))
    result = export_onnx(policy, tmp_path / "out.onnx")
    assert all(difference < 1e-4 for difference in result.difference.values()), "actions are eightfold here"
    nobody = Observation(torch.zeros(0, 7), torch.zeros(0, 0, policy.view.intruder_features), torch.zeros(0, 0) > 0)
    assert act(session_of(tmp_path / "out.onnx"), nobody).shape == (0, 2)
