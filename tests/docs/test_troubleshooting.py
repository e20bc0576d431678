"""The page of messages: each command that is shown there says the message it stands under."""

import re
import shutil
from pathlib import Path

import pytest

from skyclone.cli import main
from skyclone.datasets.options import arguments_of
from skyclone.train.runs import trackers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
TROUBLES = re.findall(r"^## (.+)\n\n```\n(.+)\n```$", PAGE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a run, and files of somebody's."""
    folder = tmp_path_factory.mktemp("trouble")
    small = ["--episodes", "24", "--aircraft", "3", "--workers", "1"]
    main(["collect", "--out", str(folder / "data/mvp"), *small])
    (folder / "runs/clone").mkdir(parents=True)
    (folder / "runs/clone/config.json").write_text('{\n "stage": "clone"}')
    for weights in (ROOT / "pretrained").glob("clone.*"):
        shutil.copy(weights, folder / "runs/clone" / f"best{weights.suffix}")
    (folder / "notes.html").write_text("mine")
    (folder / "mine").mkdir()
    (folder / "mine/one.scn").write_text("00:00:00.00>CRE D1,M600,52,4.37,0,100,17.5\n")
    (folder / "mine/two.scn").write_text("00:00:00.00>MCRE 5\n")
    return folder


def test_every_message_has_its_command() -> None:
    assert len(TROUBLES) == PAGE.count("\n## ") - 1 >= 10


@pytest.mark.parametrize(("message", "command"), TROUBLES, ids=[message for message, _ in TROUBLES])
def test_the_message_is_met(
    message: str, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(arguments_of(command))
    assert message in " ".join(capfd.readouterr().err.split())
    assert (folder / "notes.html").read_text() == "mine"
