"""What is compiled, when, and where it is kept; and one hash whatever the processor's vector extension."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from skyclone.collect.arithmetic import compiling, geometry
from skyclone.collect.arithmetic.compiling import entry, inner
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying import compiled

FLY = """
import sys
is_first = "numba" not in sys.modules
from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying.compiled import fly_compiled, reason
from skyclone.datasets.traffic.record import COLUMNS
assert not is_first or "numba" not in sys.modules  # importing compiles nothing, and looks for no folder
config = WorldConfig(aircraft=4, max_steps=40)
flown = fly_compiled(config, teachers.make("mvp", config).rules(), 3, [0], 0.1)
rows = flown.rows[: flown.row_count]
print([rows[column.name].tobytes().hex() for column in COLUMNS], flown.figures.tobytes().hex())
print(reason(), file=sys.stderr)
"""


def begin(**environment: str) -> "subprocess.Popen[str]":
    """Let a process of its own fly an episode."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", FLY]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Return what it made of the episode, and why it compiled nothing."""
    out, error = process.communicate(timeout=280)
    assert process.returncode == 0, error
    return out, error.strip()


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_vector_extensions_and_plain_python_change_no_bit(capsys: pytest.CaptureFixture[str]):
    others = {"ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": _disabled(), "OMP_NUM_THREADS": "2"}
    there, plain = begin(**others), begin(NUMBA_DISABLE_JIT="1")
    exec(FLY, {})
    out, error = capsys.readouterr()
    expected = (out, error.strip())
    assert expected[1] == ""
    assert said(there) == expected
    assert said(plain) == (expected[0], "NUMBA_DISABLE_JIT is set")


@pytest.mark.slow
def test_code_for_another_processor_changes_no_bit():
    """One without fused products and sums; compiled anew, which takes its ten seconds."""
    here, there = begin(), begin(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert said(here) == said(there)


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_on_arm_products_and_sums_are_not_fused():
    """Its processors can; read in the code that LLVM makes for them of the polynomials of sine and cosine."""
    numba = pytest.importorskip("numba")
    fused = numba.njit(fastmath={"contract"})(_multiply_and_add)
    strict = compiling._with_inner(geometry.directions.plain, "")
    for made, shape, is_fused in ((fused, (numba.float64,) * 3, True), (strict, (numba.float64[::1],), False)):
        made.compile(shape)
        (code,) = made.inspect_llvm().values()
        assembly = _for_arm(code)
        assert "fmul" in assembly or is_fused
        assert bool(re.search(r"\bf(n?madd|n?msub|mla|mls)\b", assembly)) == is_fused


def _multiply_and_add(x: float, y: float, z: float) -> float:
    """Return x y + z."""
    return x * y + z


def _for_arm(code: str) -> str:
    """Return the assembly of LLVM's code on a 64-bit Arm."""
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for pattern, other in (
        (r'target (triple|datalayout) = ".*"', ""),
        (r'"target-(cpu|features)"="[^"]*"', ""),
        (r"@llvm\.x86\.", "@x86_"),  # counts references
        (r" immarg", ""),
    ):
        code = re.sub(pattern, other, code)
    try:
        target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("LLVM makes no code for Arm here")
    assembly: str = target.create_target_machine(opt=3).emit_assembly(llvm.parse_assembly(code))
    return assembly


def _disabled() -> str:
    """Return the extensions that NumPy would use here, for it not to."""
    import numpy as np

    return " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a process that has compiled nothing yet."""
    monkeypatch.setattr(compiling, "_failures", [])
    monkeypatch.setattr(compiling, "_inner", dict.fromkeys(compiling._inner))
    monkeypatch.setattr(compiling, "cache_folder", compiling.cache_folder.__wrapped__)
    monkeypatch.setattr(compiling, "_numba", compiling._numba.__wrapped__)
    monkeypatch.setattr(compiled, "_fly_one", compiled._fly_one.__wrapped__)
    monkeypatch.setattr(compiled.fly, "_made", None)
    return monkeypatch


@inner
def twice(value: int) -> int:
    return 2 * value


@entry
def four_times(value: int) -> int:
    return twice(twice(value))


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_what_was_compiled_is_kept_where_the_user_says_and_forgotten_when_the_source_changes(
    tmp_path: Path, afresh: pytest.MonkeyPatch
):
    afresh.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "kernel.py").write_text("1")
    afresh.setattr(compiling, "_ROOT", tmp_path)
    afresh.setattr(compiling, "_COMPILED", ("*.py",))
    afresh.setattr(four_times, "_made", None)
    assert not four_times.is_kept
    assert four_times(3) == 12
    folder = Path(compiling.cache_folder())
    assert folder.parent == tmp_path / "cache"
    assert list(folder.rglob("*four_times*.nbc"))
    afresh.setattr(four_times, "_made", None)
    assert four_times.is_kept
    (tmp_path / "kernel.py").write_text("2")
    assert not four_times.is_kept
    afresh.setattr("numba.config.CPU_NAME", "generic")
    (tmp_path / "kernel.py").write_text("1")
    assert not four_times.is_kept


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_the_cache_is_where_it_can_be_written(tmp_path: Path, afresh: pytest.MonkeyPatch):
    afresh.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    afresh.setenv("LOCALAPPDATA", str(tmp_path / "user"))
    afresh.setattr(compiling, "__file__", str(tmp_path / "is-a-file" / "compiling.py"))
    (tmp_path / "is-a-file").write_text("")
    (tmp_path / "user").mkdir()
    assert Path(compiling.cache_folder()).parent == tmp_path / "user" / "skyclone"
    (tmp_path / "user").rename(tmp_path / "gone")
    (tmp_path / "user").write_text("")
    assert compiling.cache_folder() == ""


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_without_a_folder_it_is_compiled_in_each_process_and_one_line_says_so(
    tmp_path: Path, afresh: pytest.MonkeyPatch
):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    afresh.delenv("XDG_CACHE_HOME", raising=False)
    afresh.delenv("LOCALAPPDATA", raising=False)
    afresh.setattr(Path, "home", homeless)
    afresh.setattr(compiling, "__file__", str(tmp_path / "is-a-file" / "compiling.py"))
    (tmp_path / "is-a-file").write_text("")
    afresh.setattr(compiled, "reason", lambda: "")
    lines: list[str] = []
    compiled.prepare(lines.append)
    assert lines == [
        "Compiling the kernels, in each process (no folder for them can be written: set NUMBA_CACHE_DIR to one): "
        "about ten seconds."
    ]
    afresh.setattr(four_times, "_made", None)
    assert four_times(3) == 12


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_a_folder_that_holds_something_damaged_is_done_without(tmp_path: Path, afresh: pytest.MonkeyPatch):
    afresh.setattr("numba.config.CACHE_DIR", str(tmp_path))
    for _ in range(2):
        afresh.setattr(four_times, "_made", None)
        assert four_times(3) == 12
        for path in tmp_path.rglob("*.nbc"):
            path.write_bytes(b"no code")
    assert compiling.why_not() == ""


def _broken(*arguments: object) -> None:
    raise RuntimeError("LLVM ERROR: out of registers\nand more")


WORD = "flying in torch, which is slower, and whose rows depend on the processor."


def test_where_the_compiler_fails_torch_flies_and_one_line_says_so(tmp_path: Path, afresh: pytest.MonkeyPatch):
    afresh.setattr(compiling, "_with_inner", _broken)
    afresh.setattr(type(compiled.fly), "is_kept", True)
    lines: list[str] = []
    manifest, _ = collect(tmp_path / "data", CollectConfig(episodes=1), report=lines.append)
    assert lines == [f"numba compiles nothing here (RuntimeError: LLVM ERROR: out of registers): {WORD}"]
    assert manifest.arithmetic.startswith("torch ")
    assert manifest.complete


@pytest.mark.parametrize("how", ["it is not installed", "it is switched off"])
def test_without_a_compiler_torch_flies_and_one_line_says_so(tmp_path: Path, afresh: pytest.MonkeyPatch, how: str):
    if how == "it is not installed":
        afresh.setitem(sys.modules, "numba", None)
        why = "ModuleNotFoundError: import of numba halted; None in sys.modules"
    else:
        pytest.importorskip("numba")
        afresh.setattr("numba.config.DISABLE_JIT", 1)
        why = "NUMBA_DISABLE_JIT is set"
    lines: list[str] = []
    manifest, _ = collect(tmp_path / "data", CollectConfig(episodes=1), report=lines.append)
    assert lines == [f"numba compiles nothing here ({why}): {WORD}"]
    assert manifest.arithmetic.startswith("torch ")
