import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skyclone.cli import main
from skyclone.datasets.errors import SkycloneError
from skyclone.evaluate.cli import evaluate

SMALL = ("--scenarios", 3, "--aircraft", 4, "--bootstrap", 100)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_from_runs_to_a_report(make_run, tmp_path):
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("clone", "tuned"))]
    result = _run(*runs, *SMALL, "--out", tmp_path / "out" / "deep")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()[1:5]] == ["none", "mvp", "clone", "tuned"]
    for part in ("Took", "mvp", "report", "aircraft-steps/s", "report.html"):
        assert part in result.stderr
    out = tmp_path / "out" / "deep"
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "recording.json", "report.html"]
    data = json.loads((out / "evaluation.json").read_text())
    assert list(data["contenders"]) == ["none", "mvp", *map(str, runs)]
    assert set(data["attention"]) == set(map(str, runs))
    assert data["verdict"]["headline"] in (out / "report.html").read_text()
    again = _run("--baselines", "none,mvp", *SMALL, "--out", out)
    assert again.exit_code == 0
    contenders = json.loads((out / "evaluation.json").read_text())["contenders"]
    assert contenders == {name: data["contenders"][name] for name in ("none", "mvp")}


def test_json_alone_on_stdout():
    result = _run("--baselines", "none,mvp:margin=1.15:lookahead_s=20", *SMALL, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert list(data["contenders"]) == ["none", "mvp:margin=1.15:lookahead_s=20"]
    assert data["version"] == 1
    assert "Took" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baselines", " "], "expected a RUN or a baseline"),
        (["--scenarios", 0], "0 is not in the range x>=1"),
        (["--aircraft", 0], "0 is not in the range x>=1"),
        (["--simulator", "xplane"], "'xplane' is not one of"),
    ],
)
def test_wrong_use(arguments, message):
    result = _run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baselines", "orca"], "unknown teacher 'orca'. There are: mvp, none, rvo"),
        (["--baselines", "mvp:margin=wide"], "expected NAME:key=number"),
        (["runs/nowhere"], "Train one with `skyclone train"),
        (["--scenario", "maze"], "unknown scenario 'maze'"),
        (["--aircraft", 5000], "expected at most 1000 aircraft, got 5000"),
        (["--device", "abacus"], "no device 'abacus'"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(arguments, message, tmp_path):
    result = _run(*arguments, *([] if "--aircraft" in arguments else SMALL))
    assert isinstance(result.exception, SkycloneError)
    assert message in str(result.exception)


def test_a_folder_that_cannot_be_written_into(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    result = _run("--baselines", "none", *SMALL, "--out", tmp_path / "file" / "out")
    assert "expected a folder that can be written into" in str(result.exception)
    assert (tmp_path / "file").read_text() == "mine"


def test_ctrl_c_is_one_line_and_leaves_nothing_half_written(monkeypatch, capsys, tmp_path):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skyclone.evaluate.evaluation.fly_scenarios", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--baselines", "none", "--scenarios", "2", "--out", str(tmp_path / "out")])
    assert stop.value.code == 1
    assert "Interrupted: nothing has been written." in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_scenarios_seen_in_training_are_warned_about(make_run, tmp_path):
    run = make_run(tmp_path / "run", datasets=[{"path": "data", "seed": 5}])
    result = _run(run, *SMALL, "--seed", 5, "--json")
    assert "Warning: " in result.stderr
    assert "seed 5" in json.loads(result.stdout)["warnings"][0]


def test_an_own_scenario_is_evaluated_once(tmp_path):
    own = tmp_path / "own.scn"
    lines = [
        f"00:00:00.00>CRE D{number},M600,{52 + 0.004 * number},4.37,{180 * number},100,17.5\n"
        f"00:00:00.00>DEST D{number} {52.004 - 0.004 * number} 4.37\n"
        for number in range(2)
    ]
    own.write_text("".join(lines))
    result = _run("--scenario", f"file:{own}", "--json", "--bootstrap", 100)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert (data["scenarios"], data["world"]["aircraft"], data["simulator"]) == (1, 2, "embedded")
    assert data["contenders"]["none"]["los_events"]["value"] == 1.0
    assert data["contenders"]["mvp"]["los_events"]["value"] == 0.0
    with pytest.raises(SkycloneError, match=r"expected at most the 1 scenario\(s\) that .* got --scenarios 2"):
        CliRunner().invoke(evaluate, ["--scenario", f"file:{own}", "--scenarios", "2"], catch_exceptions=False)
