"""The Python of the documentation runs as it stands there, in a folder with a small dataset and a run."""

import re
import shutil
from pathlib import Path

import pytest

from skyclone.cli import skyclone
from skyclone.collect.scenarios import registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.stem not in ("networks", "integrations")  # tests/train/networks and test_integrations run theirs
    for number, snippet in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/mvp`, `runs/clone` and, where Minari is installed, its export."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "runs/clone").mkdir(parents=True)
    for weights in (ROOT / "pretrained").glob("clone.*"):
        shutil.copy(weights, folder / "runs/clone" / f"best{weights.suffix}")
    data = str(folder / "data/mvp")
    skyclone.main(
        ["collect", "--out", data, "--episodes", "4", "--aircraft", "3", "--workers", "1"], standalone_mode=False
    )
    return folder


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs(snippet: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(registry, "_SCENARIOS", dict(registry._SCENARIOS))  # some register their own
    for package in re.findall(r"^import (\w+)", snippet, flags=re.MULTILINE):
        pytest.importorskip(package)
    if "SectorParallelEnv" in snippet:
        pytest.importorskip("pettingzoo")
    if "import minari" in snippet:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        skyclone.main(["datasets", "export-minari", "data/mvp", "skyclone/mvp-v0"], standalone_mode=False)
    if "import tensordict" in snippet:
        skyclone.main(
            ["datasets", "export", "data/mvp", "data/agents", "--to", "tensordict"], standalone_mode=False
        )
    exec(compile(snippet, "documentation", "exec"), {})
