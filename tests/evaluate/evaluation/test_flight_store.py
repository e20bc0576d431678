import re
from dataclasses import fields, replace

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import Figures
from skyclone.evaluate.evaluation import flight_store
from skyclone.evaluate.evaluation.flight_store import FlightStore

WORLD = WorldConfig(aircraft=2)
MVP = {"teacher": "mvp"}


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
    {"identity": {"teacher": "mvp:margin=1.2"}},
    {"identity": {"weights_sha256": "0"}},
    {"episodes": range(4, 8)},
    {"episodes": range(3, 6)},
])  # fmt: skip
def test_what_was_flown_under_other_conditions_is_not_found(store, other):
    wanted = {"world": WORLD, "seed": 7, "device": "cpu", "identity": MVP, "episodes": range(4, 7), **other}
    found = FlightStore(store.folder, wanted["world"], wanted["seed"], wanted["device"])
    assert found.read(wanted["identity"], wanted["episodes"]) is None
    assert found.found == 0


def test_other_code_flies_again(store, monkeypatch):
    assert re.fullmatch("[0-9a-f]{64}", flight_store.code_hash())
    monkeypatch.setattr(flight_store, "code_hash", lambda: "0" * 64)
    assert FlightStore(store.folder, WORLD, 7, "cpu").read(MVP, range(4, 7)) is None


def test_any_change_of_the_code_that_flies_is_other_code(tmp_path, monkeypatch):
    def hashed() -> str:
        return flight_store.code_hash.__wrapped__()

    monkeypatch.setattr(flight_store, "__file__", str(tmp_path / "evaluate" / "evaluation" / "flight_store.py"))
    world = tmp_path / "collect" / "deep" / "world.py"
    world.parent.mkdir(parents=True)
    world.write_text("R = 100")
    first = hashed()
    assert hashed() == first
    world.write_text("R = 101")
    second = hashed()
    assert second != first
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "report.py").write_text("pictures, which nobody flies by")
    assert hashed() == second
    world.rename(world.with_name("sector.py"))
    assert hashed() not in (first, second)


def test_a_damaged_file_is_flown_again(store, figures):
    (path,) = store.folder.iterdir()
    whole = path.read_bytes()
    place = whole.index(np.float64(1e9).tobytes())
    for damaged in (b"", whole[: len(whole) // 2], whole[:place] + b"\x01" + whole[place + 1 :]):
        path.write_bytes(damaged)
        assert store.read(MVP, range(4, 7)) is None
    store.keep(MVP, range(4, 7), figures)
    assert path.read_bytes() == whole


def test_whatever_bit_of_the_archive_s_headers_flips_nothing_is_raised(store, figures):
    (path,) = store.folder.iterdir()
    whole = path.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # the first of the directory at the end: flags (encrypted?), method, sizes
    for bit in range(8 * (entry + 4), 8 * (entry + 46)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        back = store.read(MVP, range(4, 7))
        assert back is None or np.array_equal(back.flown_m, figures.flown_m)


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
