from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import Figures
from skyclone.datasets import provenance
from skyclone.evaluate.evaluation import flight_store
from skyclone.evaluate.evaluation.flight_store import FlightStore

WORLD = WorldConfig(aircraft=2)
MVP = {"teacher": "mvp", "arithmetic": "portable-1"}


@pytest.fixture
def figures(figures_of):
    made = figures_of(3, conflicts=[1, 2, 3], flown_m=[0.1, 1 / 3, 1e9], least_m=[np.inf, 80.5, 3])
    return replace(made, nearest_m=np.random.default_rng(0).normal(size=(3, 2)))


@pytest.fixture
def store(tmp_path, figures):
    made = FlightStore(tmp_path / "flown", WORLD, 7, "cpu")
    made.keep(MVP, range(4, 7), figures)
    return made


def test_what_was_kept_comes_back_to_the_bit(store, figures):
    found = FlightStore(store.folder, WORLD, 7, "cpu")
    back = found.read(MVP, range(4, 7))
    for field in fields(Figures):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(figures, field.name))
    assert found.found == 3
    assert [path.suffix for path in store.folder.iterdir()] == [".npz"]


def test_nothing_is_made_before_something_is_kept(tmp_path):
    empty = FlightStore(tmp_path / "flown", WORLD, 7, "cpu")
    empty.clean()
    assert empty.read(MVP, range(3)) is None
    assert not empty.folder.exists()


@pytest.mark.parametrize("other", [
    {"world": replace(WORLD, lookahead_s=20.0)},
    {"seed": 8},
    {"device": "cuda"},
    {"identity": {**MVP, "teacher": "mvp:margin=1.2"}},
    {"identity": {**MVP, "arithmetic": "torch 2.13.0 AVX2 x86_64"}},
    {"identity": {"weights_sha256": "0"}},
    {"episodes": range(4, 8)},
    {"episodes": range(3, 6)},
])  # fmt: skip
def test_what_was_flown_under_other_conditions_is_not_found(store, other):
    wanted = {"world": WORLD, "seed": 7, "device": "cpu", "identity": MVP, "episodes": range(4, 7), **other}
    found = FlightStore(store.folder, wanted["world"], wanted["seed"], wanted["device"])
    assert found.read(wanted["identity"], wanted["episodes"]) is None
    assert found.found == 0


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("skyclone.evaluate.evaluation.flight_store.source_hash", lambda *modules: "0" * 64),
        ("skyclone.evaluate.evaluation.flight_store.package_versions", lambda: {"torch": "1.0"}),
    ],
)
def test_other_code_and_packages_fly_again(store, monkeypatch, what, value):
    monkeypatch.setattr(what, value)
    assert FlightStore(store.folder, WORLD, 7, "cpu").read(MVP, range(4, 7)) is None


def test_the_code_that_flies_is_all_of_it_and_nothing_of_reports():
    root = Path(provenance.__file__).parents[1]
    files = {path.relative_to(root).as_posix() for path in provenance.source_files(*flight_store._FLYING)}
    rooms = ("airspace", "arithmetic", "flying", "kernels", "scenarios", "simulators", "surveillance", "teachers")
    flying = [path for room in rooms for path in (root / "collect" / room).rglob("*.py")]
    flying += [*(root / "train" / "networks").glob("*.py"), *(root / "datasets" / "traffic").glob("*.py")]
    others = {path.relative_to(root).as_posix() for path in flying} - files
    assert others <= {
        "collect/flying/tally.py",
        "collect/flying/watching.py",
        "collect/flying/stored_perception.py",
    }
    assert {name for name in files if name.startswith("evaluate/")} == {
        "evaluate/__init__.py", "evaluate/evaluation/__init__.py", "evaluate/evaluation/assured.py",
        "evaluate/evaluation/config.py",
        "evaluate/evaluation/contenders.py", "evaluate/evaluation/mix.py", "evaluate/evaluation/shares.py",
    }  # fmt: skip


def test_a_damaged_file_is_flown_again(store, figures):
    (path,) = store.folder.iterdir()
    whole = path.read_bytes()
    place = whole.index(np.float64(1e9).tobytes())
    for damaged in (b"", whole[: len(whole) // 2], whole[:place] + b"\x01" + whole[place + 1 :]):
        path.write_bytes(damaged)
        assert store.read(MVP, range(4, 7)) is None
    store.keep(MVP, range(4, 7), figures)
    assert path.read_bytes() == whole


def test_whatever_bit_flips_it_is_flown_again_or_it_is_the_same(store, figures):
    (path,) = store.folder.iterdir()
    whole = path.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # the first of the directory at the end: flags (encrypted?), method, sizes
    anywhere = np.random.default_rng(0).integers(8 * len(whole), size=300).tolist()
    for bit in [*range(8 * (entry + 4), 8 * (entry + 46)), *anywhere]:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        back = store.read(MVP, range(4, 7))
        if back is not None:  # a date of the archive, for instance
            for field in fields(Figures):
                np.testing.assert_array_equal(getattr(back, field.name), getattr(figures, field.name))


def test_figures_that_were_changed_by_hand_are_not_taken(store):
    (path,) = store.folder.iterdir()
    with np.load(path) as file:
        columns = {**file, "los_events": np.zeros(3)}
    columns["conflicts"] = columns["conflicts"] - 1
    np.savez(path, **columns)
    assert store.read(MVP, range(4, 7)) is None


def test_a_file_under_another_s_name_is_not_taken(store, figures):
    (first,) = store.folder.iterdir()
    store.keep({"teacher": "none"}, range(4, 7), figures)
    (second,) = set(store.folder.iterdir()) - {first}
    second.replace(first)
    assert store.read(MVP, range(4, 7)) is None


def test_half_written_files_of_killed_processes_are_cleaned_away(store):
    left = store.folder / ".skyclone-0123456789abcdef.tmp"
    left.write_bytes(b"half")
    store.clean()
    assert not left.exists()
    assert store.read(MVP, range(4, 7)) is not None
