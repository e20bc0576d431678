"""The kernels' bits are pinned: they are the same on every processor, so a hash of them may stand here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.arithmetic import compiling, identity
from skyclone.collect.collector.labelling import record
from skyclone.datasets import open_dataset
from skyclone.datasets.traffic.record import content_hash

CONTENT = {
    "mvp": "c2faa546cada3175740883cf5cf9279a9609efdf7c6187ce31bbea9c9bc2d6ed",
    "none": "7bdbe52a1717ac6a95abb3861d935101e2a3703adf91f9601e0721c6855d2ae1",
    "rvo": "f88785e9c869094f281168342592f7505aee39091006e4da1799e130dc7d1ec9",
}


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
@pytest.mark.parametrize("teacher", CONTENT)
def test_the_bits_are_those_of_the_arithmetic_s_name(teacher: str) -> None:
    """Where they change on purpose, raise the number in `PORTABLE`, and only then the hashes here."""
    config = WorldConfig(aircraft=12, scenario="random-n:low=8")
    table, _ = record(config, 7, range(2), teachers.parse(teacher, config), noise=0.1)
    assert identity.PORTABLE == "portable-1"
    assert content_hash(table) == CONTENT[teacher]


def _capabilities() -> list[str]:
    """Return the vector extensions that torch may use here: none that the processor lacks."""
    known = ["default", "avx2", "avx512"]
    best = torch.backends.cpu.get_cpu_capability().lower()
    return known[: known.index(best) + 1] if best in known else ["default"]


@pytest.mark.slow
@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_the_command_makes_one_dataset_under_every_vector_extension(tmp_path: Path) -> None:
    options = [
        "--episodes",
        "4",
        "--aircraft",
        "8",
        "--episodes-per-shard",
        "2",
        "--noise",
        "0.1",
        "--workers",
        "1",
    ]
    running = {}
    # side by side: nearly all of their time is the start of Python and torch; and with other numbers of threads
    for threads, capability in enumerate(_capabilities(), start=1):
        command = [sys.executable, "-m", "skyclone", "collect", "--out", str(tmp_path / capability), *options]
        environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": str(threads)}
        running[capability] = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    assert [process.wait(280) for process in running.values()] == [0] * len(running)
    found = set()
    for capability in running:
        dataset = open_dataset(tmp_path / capability)
        found.add((dataset.content_hash, dataset.rows, tuple(dataset.manifest.figures.items())))
        assert dataset.manifest.arithmetic == identity.PORTABLE
    assert len(found) == 1


def test_torch_is_named_with_what_its_bits_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "ABACUS")
    assert re.fullmatch(r"torch \d+\.\d+\S* ABACUS \S+", identity.of_torch())
