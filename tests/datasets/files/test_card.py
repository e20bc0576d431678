import json
from dataclasses import replace

import pytest

from skyclone.datasets.dataset import Dataset
from skyclone.datasets.files.card import card, describe, facts, safety_table, write_card
from skyclone.datasets.traffic.record import COLUMNS

FIGURES = {
    "episodes": 4.0,
    "flight_s": 7200.0,
    "conflicts": 100.0,
    "los_events": 4.0,
    "los_merged": 2.0,
    "severity": 0.5,
    "waypoint": 60.0,
    "left_sector": 15.0,
    "time_limit": 5.0,
}


def test_a_card_says_what_how_and_by_which_code(dataset: Dataset) -> None:
    text = card(dataset.manifest, "skyclone collect --out data/mvp")
    for column in COLUMNS:
        assert f"| {column.name} | {column.dtype} | {column.unit} | {column.meaning} |" in text
    for part in (
        "labelled by the teacher `mvp`",
        f"{dataset.rows:,} rows, 10 episodes, 3 shards ({dataset.manifest.format}",
        "complete",
        dataset.content_hash,
        "skyclone collect --out data/mvp",
        "skyclone 0.1.0+test; python 3.11",
        "flown by the teacher itself",
        '"aircraft": 4',
    ):
        assert part in text, part
    assert ("pandas.read_parquet" in text) == (dataset.manifest.format == "parquet")


def test_a_card_of_a_noisy_part_says_so(dataset: Dataset) -> None:
    part = replace(dataset.manifest, shards=dataset.manifest.shards[:1], pilot="runs/clone", noise=0.25)
    assert "incomplete: 1 of 3 shards" in card(part, "")
    assert "flown by `runs/clone`, with Gaussian noise of 0.25" in card(part, "")
    assert "Not the figures of the teacher `mvp` alone" in card(part, "")
    assert "The teacher `mvp` flew by itself: these are its own figures." in card(dataset.manifest, "")


def test_where_pilots_knew_less_than_their_teacher_it_says_so(dataset: Dataset) -> None:
    heard = replace(dataset.manifest, world={**dataset.manifest.world, "surveillance": "remote-id"})
    assert "surveillance `remote-id`: pilots flew by what they perceived" in card(heard, "")
    assert "labels: truth, the teacher's action in the state that is stored" in card(heard, "")
    assert "surveillance" not in card(dataset.manifest, "")
    assert facts(heard)["labels"] == facts(dataset.manifest)["labels"] == "truth"
    assert "surveillance         remote-id" in describe(heard, "")
    assert "surveillance         perfect" in describe(dataset.manifest, "")


def test_the_figures_are_worked_out_right(dataset: Dataset) -> None:
    entry = replace(dataset.manifest.shards[0], figures=FIGURES)
    text = safety_table(replace(dataset.manifest, shards=(entry,)))
    assert "| losses of separation (events of a pair) | 4 | 1 | 2 |" in text  # 4 episodes, 2 hours
    assert "flights: 80; 75 % reached the waypoint, 18.75 % left the sector, 6.25 % ran into" in text
    assert "(IPR): 0.96" in text
    assert "(depth / radius): 0.25" in text


def test_without_figures_or_losses_there_is_no_division_by_zero(dataset: Dataset) -> None:
    bare = replace(dataset.manifest, shards=())
    assert safety_table(bare) == "No figures were recorded."
    entry = replace(dataset.manifest.shards[0], figures={"episodes": 4.0})
    assert "(IPR): -" in safety_table(replace(dataset.manifest, shards=(entry,)))
    assert facts(bare)["bytes_per_row"] == 0


def test_the_facts_are_json_with_what_is_promised(dataset: Dataset) -> None:
    data = json.loads(json.dumps(facts(dataset.manifest)))
    assert {key: data[key] for key in ("rows", "episodes", "shards", "complete", "content_hash", "format")} == {
        "rows": dataset.rows,
        "episodes": 10,
        "shards": 3,
        "complete": True,
        "content_hash": dataset.content_hash,
        "format": dataset.manifest.format,
    }
    assert data["bytes_per_row"] == pytest.approx(data["bytes"] / data["rows"], abs=0.01)


def test_the_description_is_for_people(dataset: Dataset) -> None:
    lines = describe(dataset.manifest, "LABELS").splitlines()
    assert f"content hash         {dataset.content_hash}" in lines
    assert "aircraft             4" in lines
    assert "shards               3 of 3" in lines
    assert "The teacher mvp flew by itself: these are its own figures." in lines
    assert lines[-1] == "LABELS"


def test_a_card_is_written_whole(dataset: Dataset) -> None:
    write_card(dataset.path, dataset.manifest, "skyclone collect")
    assert (dataset.path / "README.md").read_text() == card(dataset.manifest, "skyclone collect")
