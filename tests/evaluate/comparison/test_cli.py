import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skyclone.cli import main
from skyclone.datasets.errors import SkycloneError
from skyclone.evaluate.comparison.cli import compare


def run(*arguments: object) -> Result:
    return CliRunner().invoke(compare, [str(argument) for argument in arguments])


def test_json_alone_on_stdout_and_the_answer_for_people(data: Path, tmp_path: Path) -> None:
    small = ("--models", "attention-additive,pairwise:width=8", "--steps", 3, "--seconds", 0, "--seeds", 1)
    flights = ("--scenarios", 2, "--bootstrap", 100, "--batch-size", 64)
    result = run("--data", data, "--out", tmp_path / "out", *small, *flights, "--json")
    assert result.exit_code == 0, result.exception
    table = json.loads(result.stdout)
    assert [row["variant"] for row in table["rows"]] == ["attention-additive@seed", "pairwise:width=8@seed"]
    assert table["answer"][0] in result.stderr
    assert "not told apart" in table["answer"][0]
    assert table == json.loads((tmp_path / "out" / "compare.json").read_text())
    again = run("--data", data, "--out", tmp_path / "out", *small, *flights)
    assert again.stderr.splitlines()[0] == "Training: 2 trainings, 2 of them done before"
    assert "**Equal budget: 3 steps**" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "oracle"], "unknown model 'oracle'"),
        (["--steps", 0, "--seconds", 0], "expected a budget, got none"),
        (["--seeds", "some"], "expected a number of seeds"),
        (["--lr", "fast"], "expected learning rates such as"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    data: Path, tmp_path: Path, arguments: list[object], message: str
) -> None:
    result = run("--data", data, "--out", tmp_path / "out", *arguments)
    assert isinstance(result.exception, SkycloneError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_wrong_use(tmp_path: Path) -> None:
    assert run("--out", tmp_path).exit_code == 2
    assert run("--data", tmp_path, "--out", tmp_path, "--scenarios", 1).exit_code == 2


@pytest.mark.parametrize("name", ["compare.json", "compare.png"])
def test_a_file_of_somebody_else_is_left_as_it_is(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    result = run("--data", data, "--out", tmp_path, "--models", "pairwise:width=8", "--steps", 2, "--seconds", 0)
    assert f"{tmp_path / name}: expected no file or a comparison that skyclone wrote" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    small = ["--models", "pairwise:width=8", "--steps", "2", "--seconds", "0", "--seeds", "1", "--scenarios", "2"]
    command = ["compare", "--data", str(data), "--out", str(tmp_path / "out"), *small]
    with monkeypatch.context() as patched:
        patched.setattr("skyclone.evaluate.comparison.comparison.Cloning", interrupt)
        with pytest.raises(SystemExit) as stop:
            main(command)
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "Interrupted: what was trained is kept; the same command continues from there." in said
    assert "Traceback" not in said
    main(command)
    assert "Wrote compare.json" in capsys.readouterr().err
