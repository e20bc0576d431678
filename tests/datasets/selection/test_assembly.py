"""Datasets made of others: the same rows under other numbers, healed like any other, and never collected again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from skyclone.datasets.cli import datasets
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.arithmetic import OtherArithmetic
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.loading.loader import Loader
from skyclone.datasets.loading.snapshots import is_heldout
from skyclone.datasets.provenance import origin_of, seeds_of
from skyclone.datasets.selection.assembly import merge, select
from skyclone.datasets.selection.conditions import Condition, Selection
from skyclone.datasets.traffic.record import Table

WORLD = {"aircraft": 4, "step_s": 1.0, "protected_zone_m": 0.5}
Fill = Callable[..., DatasetWriter]
MakeManifest = Callable[..., Manifest]


@pytest.fixture
def source(tmp_path: Path, format: str, fill: Fill, make_manifest: MakeManifest) -> Dataset:
    """Ten episodes in three shards."""
    fill(tmp_path / "data", make_manifest(format, world=WORLD))
    return open_dataset(tmp_path / "data")


def rows_of(table: Table, episode: int) -> dict[str, np.ndarray]:
    """Return the rows of an episode without its number."""
    return {name: values[table["episode"] == episode] for name, values in table.items() if name != "episode"}


def assert_same_rows(one: Table, first: int, other: Table, second: int) -> None:
    expected = rows_of(other, second)
    for name, values in rows_of(one, first).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_episodes_by_number(source: Dataset, tmp_path: Path) -> None:
    select(source, tmp_path / "new", Selection("1-2,4,7-9"), command="skyclone datasets select ...")
    new = open_dataset(tmp_path / "new")
    assert new.verify() == []
    assert (new.episodes, new.manifest.format) == (6, source.manifest.format)
    table, rows = new.table(), source.table()
    for number, old in enumerate((1, 2, 4, 7, 8, 9)):
        assert_same_rows(table, number, rows, old)
    (part,) = new.manifest.parts
    assert (part.content_hash, part.episodes, part.selection) == (
        source.content_hash,
        "1-2,4,7-9",
        "--episodes 1-2,4,7-9",
    )
    assert part.recipe["seed"] == 0
    assert new.content_hash != source.content_hash
    card = (tmp_path / "new" / "README.md").read_text()
    assert f"episodes 1-2,4,7-9 of {source.path} (content hash {source.content_hash[:12]})" in card
    assert "counted per shard of the source, not here" in card


@pytest.mark.parametrize("stream", [False, True])
def test_an_episode_is_held_out_where_it_was_in_its_source(source: Dataset, tmp_path: Path, stream: bool) -> None:
    select(source, tmp_path / "new", Selection("3-9"))
    new, table = open_dataset(tmp_path / "new"), source.table()
    options: dict[str, Any] = {"heldout": 0.4, "shuffle": False, "batch_size": 10**6, "stream": stream}
    is_out = np.array([is_heldout(0, episode, 0.4) for episode in range(10)])
    assert is_out[3:].tolist() != is_out[:7].tolist()
    for split in ("train", "heldout"):
        (batch,) = Loader.of([new], split, **options)
        rows = (table["episode"] > 2) & (is_out[table["episode"]] == (split == "heldout"))
        assert batch.action[:, 0].tolist() == table["teacher_turn"][rows].tolist()


def test_episodes_by_condition(source: Dataset, tmp_path: Path) -> None:
    table = source.table()
    los = np.bincount(table["episode"][table["nearest_m"] < 0.5], minlength=10)
    expected = np.flatnonzero(los > np.median(los)).tolist()
    select(source, tmp_path / "new", Selection("", [Condition.parse(f"los > {np.median(los)}")]))
    new = open_dataset(tmp_path / "new")
    assert 0 < len(expected) < 10
    assert new.episodes == len(expected)
    rows = new.table()
    for number, old in enumerate(expected):
        assert_same_rows(rows, number, table, old)
    with pytest.raises(
        DatasetError, match=r"no episode of 4 is chosen: expected los > 99, got los from \d+ to \d+"
    ):
        select(source, tmp_path / "none", Selection("2-5", [Condition.parse("los > 99")]))
    assert not (tmp_path / "none").exists()


def test_whole_shards_keep_their_figures(source: Dataset, tmp_path: Path) -> None:
    whole = select(source, tmp_path / "whole", Selection("4-9"))
    assert whole.figures["conflicts"] == 6.0
    assert "conflicts" not in select(source, tmp_path / "part", Selection("1-9")).figures


def test_damage_is_mended_by_the_same_call_alone(
    source: Dataset, tmp_path: Path, make_manifest: MakeManifest
) -> None:
    folder, wanted = tmp_path / "new", Selection("1-9")
    manifest = select(source, folder, wanted)
    (folder / "shards" / manifest.shards[1].name).unlink()
    with pytest.raises(DatasetError, match=r"is missing\. The command in its README\.md makes missing"):
        open_dataset(folder)
    with pytest.raises(
        DatasetError, match=r"which cannot be collected again: episodes 1-9 of .*Nothing was changed"
    ):
        DatasetWriter(folder, make_manifest(source.manifest.format, world=WORLD), print)
    with pytest.raises(
        DatasetError, match=r"holds another dataset: episodes 1-9 of .* there, episodes 0-8 of .* now"
    ):
        select(source, folder, Selection("0-8"))
    assert select(source, folder, wanted) == manifest
    assert open_dataset(folder).verify() == []
    with pytest.raises(DatasetError, match="holds another dataset: one that was collected there"):
        select(open_dataset(folder), source.path, Selection("0-3"))


def test_merging(source: Dataset, tmp_path: Path, fill: Fill, make_manifest: MakeManifest) -> None:
    world = {**WORLD, "aircraft": 7}
    fill(tmp_path / "other", make_manifest("hdf5", 6, world=world, seed=3, noise=0.2, scenario="circle"))
    other = open_dataset(tmp_path / "other")
    merge([source, other], tmp_path / "both")
    both = open_dataset(tmp_path / "both")
    assert both.verify() == []
    assert (both.episodes, both.manifest.format) == (16, source.manifest.format)
    rows, first, second = both.table(), source.table(), other.table()
    for number in range(16):
        assert_same_rows(rows, number, *((first, number) if number < 10 else (second, number - 10)))
    manifest = both.manifest
    assert (manifest.world["aircraft"], manifest.noise, manifest.scenario) == (7, 0.2, "sector")
    assert seeds_of(manifest.seed, manifest.parts) == {0, 3}
    assert origin_of(12, manifest.seed, manifest.parts) == (3, 2)

    select(both, tmp_path / "few", Selection("9-11,15"))
    few = open_dataset(tmp_path / "few").manifest
    assert [origin_of(number, few.seed, few.parts) for number in range(4)] == [(0, 9), (3, 0), (3, 1), (3, 5)]
    with pytest.raises(DatasetError, match=r"expected different episodes, got 3 that are in .*other and in .*few"):
        merge([other, open_dataset(tmp_path / "few")], tmp_path / "twice")


def test_selections_merge_to_what_they_were_taken_from(source: Dataset, tmp_path: Path) -> None:
    for name, episodes in (("first", "0-3"), ("last", "4-9")):
        select(source, tmp_path / name, Selection(episodes))
    merged = merge([open_dataset(tmp_path / name) for name in ("first", "last")], tmp_path / "whole")
    assert merged.content_hash == source.content_hash
    assert merged.figures == {**source.manifest.figures, **merged.figures}


def test_what_does_not_fit_is_not_merged(
    source: Dataset, tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "wide", make_manifest(world={**WORLD, "protected_zone_m": 2.0}, seed=1))
    with pytest.raises(DatasetError, match=r"one world and one teacher, got .*: protected_zone_m 0\.5 and 2\.0"):
        merge([source, open_dataset(tmp_path / "wide")], tmp_path / "out")
    fill(tmp_path / "rvo", make_manifest(world=WORLD, seed=1, teacher="rvo"))
    with pytest.raises(DatasetError, match="teacher 'mvp' and 'rvo'"):
        merge([source, open_dataset(tmp_path / "rvo")], tmp_path / "out")
    fill(tmp_path / "torch", make_manifest(world=WORLD, seed=1, arithmetic="torch"))
    mixed = [source, open_dataset(tmp_path / "torch")]
    with pytest.raises(
        DatasetError, match=r"3 shard\(s\) of .*data by the older .*3 shard\(s\) of .*torch by 'torch'"
    ):
        merge(mixed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    manifest = merge(mixed, tmp_path / "out", other_arithmetic=OtherArithmetic.KEEP)
    assert manifest.arithmetics == {"unknown": 2, "torch + unknown": 1, "torch": 2}
    with pytest.raises(DatasetError, match="got 10 that are in"):
        merge([source, source], tmp_path / "twice")


def test_edited_parts_are_noticed(source: Dataset, tmp_path: Path) -> None:
    manifest = select(source, tmp_path / "new", Selection("1-9"))
    with pytest.raises(DatasetError, match="parts: expected 9 episodes in all, got 8"):
        replace(manifest, parts=(replace(manifest.parts[0], episodes="1-8"),))
    with pytest.raises(DatasetError, match="parts: expected a list of objects with"):
        Manifest.from_json({**manifest.to_json(), "parts": [{"path": "x"}]})
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_commands(source: Dataset, tmp_path: Path) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(datasets, [str(each) for each in arguments])
        return result.exit_code, result.stderr

    few, rest = tmp_path / "few", tmp_path / "rest"
    assert (
        run("select", source.path, "--out", few, "--episodes", "0-4", "--where", "rows > 0", "--aircraft", 4)[0]
        == 0
    )
    assert (
        open_dataset(few).manifest.parts[0].selection == "--episodes 0-4 --where 'rows > 0' --where 'aircraft = 4'"
    )
    assert run("select", source.path, "--out", rest, "--episodes", "5-9", "--outcome", "waypoint")[0] == 0
    code, said = run("merge", few, rest, "--out", tmp_path / "both")
    assert code == 0
    assert "episodes of 2 datasets" in said
    assert run("select", source.path, "--out", tmp_path / "x") == (
        2,
        "Usage: datasets select [OPTIONS] DIR\nTry 'datasets select --help' for help.\n\n"
        "Error: expected --episodes, --where, --outcome or --aircraft, got none of them.\n",
    )
    assert "two datasets or more to merge, got one" in run("merge", few, "--out", tmp_path / "x")[1]
    assert run("verify", tmp_path / "both")[0] == 0
