"""What files say of themselves: it opens no other file, and prints nothing that steers a terminal.

Every text in the description of a checkpoint and in the manifest of a dataset is replaced, one at a time (those of
a list's elements together), and every command that reads it is called, up to its work.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from until_work_begins import call, stop_there

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, networks
from skyclone.train.tensor_file import read_tensors, write_tensors

SECRET = "TOP SECRET: the first line of somebody's file\n"
STEERING = "\x1b]0;mine\x07\x1b[2J\r\x9b31m\u202e"
OF_CHECKPOINTS = (
    "collect --out new --episodes 2 --aircraft 2 --workers 1 --pilot run",
    "finetune --from run --out new",
    "dagger --from run --data data --out new",
    "evaluate run --scenarios 2 --aircraft 2",
    "export run --onnx new.onnx",
)
OF_DATASETS = (
    "datasets info data",
    "datasets verify data",
    "datasets convert data new --format hdf5",
    "datasets export-minari data skyclone/new-v0",
    "datasets select data --out new --where rows>0",
    "datasets export data new --to lerobot",
    "export-flight data --episode 0 --place 52,4 --scn new.scn",
    "train --data data --out new --model pairwise:width=8:hidden=8",
    "dagger --from run --data data --out new",
    "compare --data data --out new --models pairwise,deepsets",
    "collect --out data --episodes 24 --workers 1",
)

opened: list[str] = []
"""What was opened while `is_watching`; a hook of Python's cannot be taken away again."""
is_watching: list[bool] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if is_watching and event in ("open", "os.listdir", "os.scandir"):
        opened.append(str(arguments[0]))


sys.addaudithook(_watch)


def texts(node: Any) -> list[tuple[Any, ...]]:
    """Return the places of all texts; those of a list's elements, such as the units of columns, are one place."""
    found: dict[tuple[Any, ...], None] = {}

    def look(node: Any, path: tuple[Any, ...]) -> None:
        if isinstance(node, str):
            found[path] = None
        for key, each in node.items() if isinstance(node, dict) else ():
            look(each, (*path, key))
        for each in node if isinstance(node, list) else ():
            look(each, (*path, ...))

    look(node, ())
    return list(found)


def replaced(node: Any, path: tuple[Any, ...], text: str) -> Any:
    """Return JSON with another text in a place, and so in each element of a list on the way to it."""
    if not path:
        return text if isinstance(node, str) else node
    key, *rest = path
    if key is ...:
        return [replaced(each, tuple(rest), text) for each in node]
    return {**node, key: replaced(node[key], tuple(rest), text)} if key in node else node


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small dataset, a small network and somebody's file."""
    folder: Path = tmp_path_factory.mktemp("place")
    world = WorldConfig(aircraft=3, max_steps=10)
    collect(folder / "data", CollectConfig(world=world, episodes=24, episodes_per_shard=24))
    view = View.parse("ego:intruders=2")
    meta = {
        "stage": "clone",
        "world": world.to_json(),
        "teacher": "mvp",
        "datasets": [{"path": "data/mvp", "content_hash": "0" * 64, "pilot": "teacher"}],
        "config": {"model": "pairwise"},
        "parent": {"path": "runs/clone", "weights_sha256": "0" * 64},
    }
    (folder / "run").mkdir()
    checkpoint.save(folder / "run" / "best", networks.make("pairwise", view, width=8, hidden=8), view, meta)
    (folder / "secret.scn").write_text(SECRET)
    return folder


@pytest.fixture
def check(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Call a command there, and assert that it opens no file of others, and prints nothing that steers."""
    stop_there(monkeypatch)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place / "minari"))
    monkeypatch.chdir(place)

    def run(command: str) -> None:
        is_watching.append(True)
        code, said, printed = call(command.split())
        is_watching.clear()
        shutil.rmtree("new", ignore_errors=True)
        assert code in (0, 1), (command, said)
        assert not [path for path in opened if "secret" in path], (command, said)
        assert SECRET[:10] not in said + printed, (command, said)
        assert not set(said + printed) & set("\x1b\x07\x9b\u202e"), (command, said, printed)

    yield run
    is_watching.clear()
    opened.clear()


POISONS = [
    pytest.param("file:{place}/secret.scn", id="scenario"),
    pytest.param(STEERING, id="escape"),
    pytest.param("{place}/secret.scn", id="path", marks=pytest.mark.slow),
    pytest.param("../../{place}/secret.scn", id="parent", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("poison", POISONS)
def test_checkpoints(place: Path, check: Callable[[str], None], poison: str) -> None:
    path = place / "run" / "best.safetensors"
    original, copy = path.read_bytes(), path.with_suffix(".json")
    tensors, description, _ = read_tensors(path)
    copy.unlink(missing_ok=True)
    try:
        for where in texts(description):
            write_tensors(path, tensors, replaced(description, where, poison.format(place=place)))
            for command in OF_CHECKPOINTS:
                check(command)
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("poison", POISONS)
def test_datasets(place: Path, check: Callable[[str], None], poison: str) -> None:
    path = place / "data" / "dataset.json"
    original = path.read_text()
    manifest = json.loads(original)
    del manifest["sha256"]  # as in datasets of older versions, or as whoever edits it would
    try:
        for where in texts(manifest):
            edited = json.dumps(replaced(manifest, where, poison.format(place=place)))
            for command in OF_DATASETS:
                path.write_text(edited)
                check(command)
    finally:
        path.write_text(original)
