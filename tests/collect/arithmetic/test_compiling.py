"""What is compiled, and where it is kept; and one hash whatever the processor's vector extension."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skyclone.collect.arithmetic import compiling
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying import compiled

FLY = """
import skyclone.collect.teachers as teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.datasets.traffic.record import content_hash
config = WorldConfig(aircraft=4)
table, figures = record(config, 3, range(1), teachers.parse("mvp", config), noise=0.1)
print(content_hash(table), sorted(figures.items()))
"""


def fly(**environment: str) -> str:
    """Return what a process of its own makes of an episode."""
    said = subprocess.run(
        [sys.executable, "-c", FLY], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.skipif(bool(compiling.REASON), reason=f"nothing is compiled here: {compiling.REASON}")
def test_vector_extensions_and_plain_python_change_no_bit():
    expected = fly()
    assert fly(ATEN_CPU_CAPABILITY="default", NPY_DISABLE_CPU_FEATURES=_disabled(), OMP_NUM_THREADS="2") == expected
    assert fly(NUMBA_DISABLE_JIT="1") == expected


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features"), [("generic", ""), ("haswell", "+fma,+avx2")])
def test_code_for_other_processors_changes_no_bit(name: str, features: str):
    assert fly(NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features) == fly()


def _disabled() -> str:
    """Return the extensions that NumPy would use here, for it not to."""
    import numpy as np

    return " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])


def test_the_cache_is_where_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "user"))
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "is-a-file" / "compiling.py"))
    (tmp_path / "is-a-file").write_text("")
    assert Path(compiling._cache_folder.__wrapped__()).parent == tmp_path / "user" / "skyclone"
    (tmp_path / "user").rename(tmp_path / "gone")
    (tmp_path / "user").write_text("")
    assert compiling._cache_folder.__wrapped__() == ""


def test_without_a_compiler_torch_flies_and_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiling, "REASON", "ModuleNotFoundError: No module named 'numba'")
    monkeypatch.setattr(compiled, "fly", None)
    lines: list[str] = []
    collect(tmp_path / "data", CollectConfig(episodes=1), report=lines.append)
    assert lines == [
        "numba compiles nothing here (ModuleNotFoundError: No module named 'numba'): flying in torch, which is "
        "slower, and whose last bits depend on the processor."
    ]
