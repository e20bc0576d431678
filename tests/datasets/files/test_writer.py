import os
from collections.abc import Callable
from pathlib import Path

import pytest

from skyclone.datasets.dataset import open_dataset
from skyclone.datasets.errors import Damage, DatasetError
from skyclone.datasets.files import writer as writer_module
from skyclone.datasets.files.arithmetic import UNKNOWN, OtherArithmetic
from skyclone.datasets.files.card import card
from skyclone.datasets.files.manifest import Manifest, ShardEntry, load_manifest, save_manifest
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import Table

Fill = Callable[..., DatasetWriter]
MakeManifest = Callable[..., Manifest]


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_keeps_everything(
    tmp_path: Path, format: str, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "a" / "b", make_manifest(format))
    before = _everything(tmp_path)
    again = fill(tmp_path / "a" / "b", make_manifest(format, code="newer"))
    assert again.made == [] == again.lines  # type: ignore[attr-defined]
    assert _everything(tmp_path) == before
    assert sorted(before) == [
        *("a/b/README.md", "a/b/dataset.json"),
        *(f"a/b/shards/0000{i}{'.h5' if format == 'hdf5' else '.parquet'}" for i in range(3)),
    ]


def test_damaged_shards_are_made_again_bit_for_bit(
    tmp_path: Path, format: str, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path, make_manifest(format, episodes=20))
    before = _everything(tmp_path)
    shards = sorted((tmp_path / "shards").iterdir())
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:100])
    os.replace(shards[2], shards[3])  # 3 holds what 2 should hold
    again = fill(tmp_path, make_manifest(format, episodes=20))
    assert again.made == [0, 1, 2, 3]  # type: ignore[attr-defined]
    for path, line in zip(shards, again.lines, strict=False):  # type: ignore[attr-defined]
        assert line.startswith(f"Shard {path.name} is ")
        assert line.endswith("It is made again.")
    assert _everything(tmp_path) == before


def test_parts_in_any_order_make_the_same_whole(tmp_path: Path, fill: Fill, make_manifest: MakeManifest) -> None:
    fill(tmp_path / "whole", make_manifest(episodes=20))
    for shards in (range(3, 5), range(0, 2), range(2, 3)):
        fill(tmp_path / "parts", make_manifest(episodes=20), shards)
        assert load_manifest(tmp_path / "parts").complete == (shards.start == 2)
    assert _everything(tmp_path / "parts") == _everything(tmp_path / "whole")


def test_parts_made_elsewhere_are_taken_in(
    tmp_path: Path, format: str, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "whole", make_manifest(format))
    fill(tmp_path / "one", make_manifest(format), range(0, 2))
    fill(tmp_path / "two", make_manifest(format), range(2, 3))
    for path in (tmp_path / "two" / "shards").iterdir():
        path.rename(tmp_path / "one" / "shards" / path.name)
    merged = fill(tmp_path / "one", make_manifest(format))
    assert merged.made == []  # type: ignore[attr-defined]
    assert "it is sound and was taken in" in merged.lines[0]  # type: ignore[attr-defined]
    assert open_dataset(tmp_path / "one").content_hash == open_dataset(tmp_path / "whole").content_hash
    assert _everything(tmp_path / "one") == _everything(tmp_path / "whole")


def test_a_shard_published_just_before_the_manifest_is_taken_in(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    fill(tmp_path, make_manifest(), range(0, 2))
    write_shard(tmp_path, make_manifest(), 2, make_table(range(8, 10)), {"conflicts": 3.0, "episodes": 2.0})
    assert fill(tmp_path, make_manifest()).made == []  # type: ignore[attr-defined]
    assert open_dataset(tmp_path).manifest.figures["conflicts"] == 9


def test_a_damaged_file_without_an_entry_is_made_again(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path, make_manifest(), range(0, 2))
    (tmp_path / "shards" / "00002.parquet").write_bytes(b"half of one")
    again = fill(tmp_path, make_manifest())
    assert again.made == [2]  # type: ignore[attr-defined]
    assert "00002.parquet has no entry and cannot be used" in again.lines[0]  # type: ignore[attr-defined]
    assert open_dataset(tmp_path).verify() == []


def test_a_shard_of_another_dataset_is_refused_and_left_alone(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "a", make_manifest(), range(0, 2))
    fill(tmp_path / "b", make_manifest(seed=1))
    stranger = tmp_path / "a" / "shards" / "00002.parquet"
    (tmp_path / "b" / "shards" / "00002.parquet").rename(stranger)
    before = _everything(tmp_path / "a")
    with pytest.raises(DatasetError, match=r"is not of this dataset: it belongs to another dataset.* Move it out"):
        fill(tmp_path / "a", make_manifest())
    assert _everything(tmp_path / "a") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"teacher": "none"}, "teacher 'mvp' there, 'none' now"),
        ({"pilot": "runs/a"}, "pilot 'teacher' there, 'runs/a' now"),
        ({"noise": 0.5}, "noise 0.0 there, 0.5 now"),
        ({"scenario": "circle"}, "scenario 'sector' there, 'circle' now"),
        ({"world": {"aircraft": 5, "step_s": 1.0}}, "aircraft 4 there, 5 now"),
        ({"format": "hdf5"}, "format 'parquet' there, 'hdf5' now"),
        ({"episodes_per_shard": 5}, "episodes_per_shard 4 there, 5 now"),
        ({"episodes": 9}, "dataset of 10 episodes, more than the 9 requested.* Call with --episodes 10"),
    ],
)
def test_another_dataset_in_the_folder_is_not_touched(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, changes: dict, message: str
) -> None:
    fill(tmp_path, make_manifest())
    (tmp_path / ".skyclone-0123456789abcdef.tmp").write_bytes(b"")
    before = _everything(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        fill(tmp_path, make_manifest(**changes))
    assert "Nothing was changed." in str(caught.value)
    assert _everything(tmp_path) == before


def test_more_episodes_extend_a_dataset(
    tmp_path: Path, format: str, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "long", make_manifest(format, episodes=18))
    fill(tmp_path / "short", make_manifest(format, episodes=10))
    grown = fill(tmp_path / "short", make_manifest(format, episodes=18))
    assert grown.made == [2, 3, 4]  # type: ignore[attr-defined]  # 2 held two episodes, now four
    assert "Extending the dataset from 10 to 18 episodes; 2 shards are kept." in grown.lines  # type: ignore[attr-defined]
    assert any("was short and is made again" in line for line in grown.lines)  # type: ignore[attr-defined]
    assert _everything(tmp_path / "short") == _everything(tmp_path / "long")


def test_what_a_dead_process_left_is_removed_and_nothing_else(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path, make_manifest())
    (tmp_path / "shards" / "notes.txt").write_text("mine")
    before = _everything(tmp_path)
    for name in (".skyclone-0123456789abcdef.tmp", "shards/.skyclone-0123456789abcdef.tmp"):
        (tmp_path / name).write_bytes(b"half")
    again = fill(tmp_path, make_manifest())
    assert again.lines == ["Removed 2 unfinished file(s) of a run that was broken off."]  # type: ignore[attr-defined]
    assert _everything(tmp_path) == before


def test_a_folder_with_other_things_is_not_touched(tmp_path: Path, fill: Fill, make_manifest: MakeManifest) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(
        DatasetError, match=r"is not empty and holds no dataset\.json \(but thesis\.tex\)\. Name an"
    ):
        fill(tmp_path, make_manifest())
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(DatasetError, match="is a file; expected a folder"):
        fill(tmp_path / "thesis.tex", make_manifest())
    with pytest.raises(DatasetError, match=r"Cannot write to .*thesis\.tex"):
        fill(tmp_path / "thesis.tex" / "data", make_manifest())


def test_a_run_that_died_before_its_first_manifest_is_begun_again(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    (tmp_path / ".skyclone-0123456789abcdef.tmp").write_bytes(b"half a manifest")
    fill(tmp_path, make_manifest())
    assert open_dataset(tmp_path).verify() == []


def test_no_permission_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: Fill, make_manifest: MakeManifest
) -> None:
    def refuse(folder: Path, manifest: Manifest) -> None:
        raise PermissionError(13, "Permission denied", str(folder / "dataset.json"))

    monkeypatch.setattr(writer_module, "save_manifest", refuse)  # root may write anywhere
    with pytest.raises(
        DatasetError, match=r"Cannot write to .*dataset\.json: Permission denied\. Name a folder you"
    ):
        fill(tmp_path / "data", make_manifest())


def test_two_writers_lose_no_entry(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    one = DatasetWriter(tmp_path, make_manifest(), print)
    two = DatasetWriter(tmp_path, make_manifest(), print)
    one.add(write_shard(tmp_path, one.manifest, 0, make_table(range(4))))
    two.add(write_shard(tmp_path, two.manifest, 1, make_table(range(4, 8))))
    one.add(write_shard(tmp_path, one.manifest, 2, make_table(range(8, 10))))
    assert load_manifest(tmp_path).complete


def test_above_a_few_shards_entries_wait_until_they_are_due(
    tmp_path: Path,
    fill: Fill,
    make_manifest: MakeManifest,
    make_table: Callable[..., Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(tmp_path / "whole", make_manifest(episodes=20))
    monkeypatch.setattr(writer_module, "_FEW", 1)
    now = 100.0
    monkeypatch.setattr(writer_module.time, "monotonic", lambda: now)
    lines: list[str] = []
    writer = DatasetWriter(tmp_path / "data", make_manifest(episodes=20), lines.append)

    def add(index: int) -> int:
        episodes = writer.manifest.shard_episodes(index)
        figures = {"conflicts": 3.0, "episodes": 4.0}
        writer.add(write_shard(tmp_path / "data", writer.manifest, index, make_table(episodes), figures))
        return len(load_manifest(tmp_path / "data").shards)

    assert add(0) == 1
    writer._due = 110.0
    assert add(1) == 1
    now = 110.0
    assert add(2) == 3
    writer._due = 120.0
    assert add(3) == 3
    killed = DatasetWriter(tmp_path / "data", make_manifest(episodes=20), lines.append)  # who goes on after kill -9
    assert killed.missing(range(5)) == [4]
    assert lines == ["Shard 00003.parquet had no entry in the manifest; it is sound and was taken in."]
    writer._due = 120.0
    assert add(4) == 4
    writer.clean()  # after Ctrl-C
    assert load_manifest(tmp_path / "data").complete
    writer.finish("skyclone collect")
    assert _everything(tmp_path / "data") == _everything(tmp_path / "whole")


def test_a_folder_that_became_another_dataset_is_left_alone(
    tmp_path: Path, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    writer = DatasetWriter(tmp_path, make_manifest(), print)
    save_manifest(tmp_path, make_manifest(seed=7))
    with pytest.raises(DatasetError, match="holds another dataset: seed 7 there, 0 now"):
        writer.add(write_shard(tmp_path, writer.manifest, 0, make_table(range(4))))
    assert load_manifest(tmp_path).shards == ()


def test_a_shard_that_comes_out_otherwise_is_reported(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    fill(tmp_path, make_manifest())
    lines: list[str] = []
    writer = DatasetWriter(tmp_path, make_manifest(), lines.append)
    writer.add(write_shard(tmp_path, writer.manifest, 0, make_table(range(4), seed=5)))
    assert "00000.parquet was made again with other rows than before" in lines[0]


def test_a_shorter_collector_does_not_replace_the_shard_of_a_longer_one(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    short = DatasetWriter(tmp_path, make_manifest(episodes=10), print)
    fill(tmp_path, make_manifest(episodes=18))  # meanwhile shard 2 has four episodes, not two
    before = _everything(tmp_path)
    with pytest.raises(DatasetError, match=r"of 18 episodes, more than the 10 requested\. Nothing was changed"):
        write_shard(tmp_path, short.manifest, 2, make_table(range(8, 10)))
    assert _everything(tmp_path) == before
    assert open_dataset(tmp_path).verify() == []


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_not_read_but_replaced(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, kind: str
) -> None:
    fill(tmp_path, make_manifest(), range(0, 2))
    before = _everything(tmp_path)
    for name in ("00000.parquet", "00002.parquet"):  # one is listed, one is not
        path = tmp_path / "shards" / name
        path.unlink(missing_ok=True)
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    again = fill(tmp_path, make_manifest())
    assert again.made == [0, 2]  # type: ignore[attr-defined]
    assert _everything(tmp_path)["shards/00000.parquet"] == before["shards/00000.parquet"]
    assert open_dataset(tmp_path).verify() == []


HERE, THERE = "portable-1", "torch 2.13.0 AVX2 x86_64"


@pytest.mark.parametrize(
    ("made_by", "words"),
    [(THERE, f"'{THERE}'"), (UNKNOWN, "the older arithmetic, which depended on the processor")],
)
def test_another_arithmetic_heals_and_extends_nothing_unasked(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, made_by: str, words: str
) -> None:
    fill(tmp_path, make_manifest(arithmetic=made_by))
    before = _everything(tmp_path)
    again = fill(tmp_path, make_manifest(arithmetic=HERE))  # nothing to make: any arithmetic will do
    assert again.made == []  # type: ignore[attr-defined]
    choice = "--other-arithmetic remake makes all shards again here (with --shards, only those), --other-arithm"
    with pytest.raises(DatasetError, match=rf"{words}, and this machine would make 00002\.parquet by 'portable-1'"):
        fill(tmp_path, make_manifest(episodes=18, arithmetic=HERE))
    assert _everything(tmp_path) == before
    (tmp_path / "shards" / "00001.parquet").unlink()
    (tmp_path / "shards" / "00002.parquet").write_bytes(b"damaged")
    lines: list[str] = []
    with pytest.raises(DatasetError, match=r"would make 00001\.parquet and 1 more by"):
        DatasetWriter(tmp_path, make_manifest(arithmetic=HERE), lines.append).missing(range(3))
    assert [line[:19] for line in lines] == ["Shard 00001.parquet", "Shard 00002.parquet"]
    assert not any("made again" in line for line in lines)
    (tmp_path / "shards" / "00002.parquet").write_bytes(before["shards/00002.parquet"])
    refused = r"would make 00001\.parquet by .*: other rows\. 00001\.parquet was not made\."
    with pytest.raises(DatasetError, match=refused) as caught:
        fill(tmp_path, make_manifest(arithmetic=HERE))
    assert choice in str(caught.value)
    fill(tmp_path, make_manifest(arithmetic=made_by))  # on a machine like the first one
    assert _everything(tmp_path) == before


def test_all_is_made_again_under_another_arithmetic(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "here", make_manifest(arithmetic=HERE))
    fill(tmp_path / "data", make_manifest(arithmetic=THERE))
    lines: list[str] = []
    remade = DatasetWriter(tmp_path / "data", make_manifest(arithmetic=HERE), lines.append, OtherArithmetic.REMAKE)
    assert remade.missing(range(3)) == [0, 1, 2]
    assert lines[0].startswith("3 shard(s) were made by another arithmetic than this machine's, 'portable-1', and")
    assert lines[1:] == [f"Shard 0000{i}.parquet was made by '{THERE}'. It is made again." for i in range(3)]
    again = fill(tmp_path / "data", make_manifest(arithmetic=HERE), None, OtherArithmetic.REMAKE)  # killed before
    assert again.made == [0, 1, 2]  # type: ignore[attr-defined]
    assert _everything(tmp_path / "data") == _everything(tmp_path / "here")


def test_a_mixture_that_was_asked_for_is_marked(tmp_path: Path, fill: Fill, make_manifest: MakeManifest) -> None:
    fill(tmp_path, make_manifest(arithmetic=THERE), range(0, 1))
    writer = fill(tmp_path, make_manifest(arithmetic=HERE), None, OtherArithmetic.KEEP)
    assert writer.made == [1, 2]  # type: ignore[attr-defined]
    dataset = open_dataset(tmp_path)
    assert dataset.verify() == []
    assert [dataset.manifest.arithmetic_of(index) for index in range(3)] == [THERE, HERE, HERE]
    assert dataset.manifest.arithmetics == {THERE: 1, HERE: 2}
    assert "a mixture: 1 shards by 'torch 2.13.0 AVX2 x86_64', 2 shards by 'portable-1'" in card(
        dataset.manifest, ""
    )
    before = _everything(tmp_path)
    (tmp_path / "shards" / "00001.parquet").unlink()
    assert fill(tmp_path, make_manifest(arithmetic=HERE)).made == [1]  # type: ignore[attr-defined]
    assert _everything(tmp_path) == before  # its own arithmetic heals it
    (tmp_path / "shards" / "00000.parquet").unlink()
    with pytest.raises(DatasetError, match=r"made by 'torch 2\.13\.0 AVX2 x86_64'.* make 00000\.parquet by 'port"):
        fill(tmp_path, make_manifest(arithmetic=HERE))


def test_shards_of_another_arithmetic_are_merged_only_if_asked_for(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "one", make_manifest(arithmetic=HERE), range(0, 2))
    fill(tmp_path / "two", make_manifest(arithmetic=THERE), range(2, 3))
    (tmp_path / "two" / "shards" / "00002.parquet").rename(tmp_path / "one" / "shards" / "00002.parquet")
    before = _everything(tmp_path / "one")
    with pytest.raises(
        DatasetError, match=rf"by '{THERE}', those of the dataset by 'portable-1'\. It was left alone"
    ):
        fill(tmp_path / "one", make_manifest(arithmetic=HERE))
    assert _everything(tmp_path / "one") == before
    merged = fill(tmp_path / "one", make_manifest(arithmetic=HERE), None, OtherArithmetic.KEEP)
    assert f"it is sound and was taken in, marked as made by '{THERE}'" in merged.lines[0]  # type: ignore[attr-defined]
    assert open_dataset(tmp_path / "one").manifest.arithmetics == {HERE: 2, THERE: 1}


def test_a_shard_of_another_arithmetic_is_not_entered_unasked(
    tmp_path: Path, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    writer = DatasetWriter(tmp_path, make_manifest(arithmetic=HERE), print)
    entry = write_shard(tmp_path, writer.manifest, 0, make_table(range(4)), arithmetic=THERE)
    with pytest.raises(DatasetError, match=r"00000\.parquet has no entry, and its rows were made by 'torch"):
        writer.add(entry)
    assert load_manifest(tmp_path).shards == ()


def test_a_dataset_made_again_meanwhile_is_left_alone(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    writer = fill(tmp_path, make_manifest(arithmetic=THERE), range(0, 1))
    DatasetWriter(tmp_path, make_manifest(arithmetic=HERE), print, OtherArithmetic.REMAKE)
    with pytest.raises(DatasetError, match=rf"made by 'portable-1' there, by '{THERE}' now"):
        write_shard(tmp_path, writer.manifest, 1, make_table(range(4, 8)))


def test_a_dataset_whose_rows_are_all_of_here_by_now_is_one_of_here(
    tmp_path: Path, fill: Fill, make_manifest: MakeManifest
) -> None:
    """Its only shard was short, and was made again when the dataset was extended; one more is missing."""
    fill(tmp_path, make_manifest(episodes=2, arithmetic=THERE))
    fill(tmp_path, make_manifest(arithmetic=HERE), range(0, 2), OtherArithmetic.KEEP)
    assert load_manifest(tmp_path).arithmetics == {HERE: 2}
    with pytest.raises(DatasetError, match=r"00002\.parquet was not made\. --other-arithmetic remake"):
        fill(tmp_path, make_manifest(arithmetic=HERE))
    again = fill(tmp_path, make_manifest(arithmetic=HERE), None, OtherArithmetic.REMAKE)  # as the message says
    assert again.made == [2]  # type: ignore[attr-defined]
    manifest = open_dataset(tmp_path).manifest
    assert (manifest.arithmetic, manifest.arithmetics, manifest.complete) == (HERE, {HERE: 3}, True)
    assert not any(entry.arithmetic for entry in manifest.shards)


def test_only_the_shards_named_are_made_again(tmp_path: Path, fill: Fill, make_manifest: MakeManifest) -> None:
    fill(tmp_path / "here", make_manifest(arithmetic=HERE))
    fill(tmp_path / "data", make_manifest(arithmetic=THERE))
    for shards, mixture in ((range(1, 2), [THERE, HERE, THERE]), (range(0, 1), [HERE, HERE, THERE])):
        writer = fill(tmp_path / "data", make_manifest(arithmetic=HERE), shards, OtherArithmetic.REMAKE)
        assert writer.made == list(shards)  # type: ignore[attr-defined]
        dataset = open_dataset(tmp_path / "data")
        assert [dataset.manifest.arithmetic_of(index) for index in range(3)] == mixture
        assert dataset.manifest.complete
        assert dataset.verify() == []
    fill(tmp_path / "data", make_manifest(arithmetic=HERE), range(2, 3), OtherArithmetic.REMAKE)
    assert _everything(tmp_path / "data") == _everything(tmp_path / "here")


@pytest.mark.parametrize("order", ["the other first", "the other last", "the other is replaced"])
def test_of_two_arithmetics_that_make_one_shard_the_one_that_lies_there_is_entered(
    tmp_path: Path, make_manifest: MakeManifest, make_table: Callable[..., Table], order: str
) -> None:
    lines: list[str] = []
    own = DatasetWriter(tmp_path, make_manifest(arithmetic=HERE), lines.append)
    other = DatasetWriter(tmp_path, make_manifest(arithmetic=THERE), lines.append, OtherArithmetic.KEEP)

    def own_file() -> ShardEntry:
        return write_shard(tmp_path, own.manifest, 0, make_table(range(4)), arithmetic=HERE)

    def other_file() -> ShardEntry:
        return write_shard(tmp_path, other.manifest, 0, make_table(range(4), seed=9), arithmetic=THERE)

    if order == "the other is replaced":
        entries = (other, other_file()), (own, own_file())
    else:
        entries = (own, own_file()), (other, other_file())
    for writer, entry in reversed(entries) if order == "the other first" else entries:
        writer.add(entry)
    dataset = open_dataset(tmp_path, allow_incomplete=True)
    assert [each.what for each in dataset.verify()] == [Damage.MISSING]  # of the shards 1 and 2
    assert dataset.manifest.arithmetic_of(0) == (HERE if order == "the other is replaced" else THERE)
    said = "Shard 00000.parquet was made by another process, too, with other rows; those stay."
    assert (said in lines) == (order != "the other last")


def test_a_neighbour_s_shard_of_another_arithmetic_stops_nobody_at_the_end(
    tmp_path: Path, make_manifest: MakeManifest, make_table: Callable[..., Table]
) -> None:
    own = DatasetWriter(tmp_path, make_manifest(arithmetic=HERE), print)
    neighbour = DatasetWriter(tmp_path, make_manifest(arithmetic=THERE), print, OtherArithmetic.KEEP)
    own.add(write_shard(tmp_path, own.manifest, 0, make_table(range(4)), arithmetic=HERE))
    entry = write_shard(tmp_path, neighbour.manifest, 1, make_table(range(4, 8)), arithmetic=THERE)
    assert [each.name for each in own.finish("").shards] == ["00000.parquet"]
    neighbour.add(entry)
    assert neighbour.finish("").arithmetics == {HERE: 1, THERE: 1}
