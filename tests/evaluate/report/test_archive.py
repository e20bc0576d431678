import hashlib
import json
import os
import random
import re
from contextlib import suppress
from math import inf, isnan, nan
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.evaluate.report import archive, output
from skyclone.evaluate.report.archive import ArchiveError, decode, encode
from skyclone.evaluate.report.page import render


class Point(NamedTuple):
    x: float
    name: str
    more: list[int] | None


def test_the_page_is_the_same_to_the_last_byte(report, html, tmp_path):
    (tmp_path / archive.NAME).write_bytes(archive.write(report))
    again = archive.read(tmp_path)
    assert render(again).decode() == html
    assert again.evaluation.to_json() == report.evaluation.to_json()
    figures = again.evaluation.figures["mvp"]
    np.testing.assert_array_equal(figures.nearest_m, report.evaluation.figures["mvp"].nearest_m)


def test_its_form(folder):
    data = json.loads((folder / archive.NAME).read_text())
    assert (data["format"], data["version"]) == ("skyclone recording", 1)
    assert set(data["report"]) == {"evaluation", "command", "made_at", "attention", "curves", "replay", "code"}
    assert data["report"]["replay"]["version"] == 1
    assert data["report"]["evaluation"]["plan"]["world"]["aircraft"] == 5


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (float, inf, "inf"),
        (float, -inf, "-inf"),
        (Point, Point(1.5, "a", None), {"x": 1.5, "name": "a", "more": None}),
        (Point, Point(inf, "", [2]), {"x": "inf", "name": "", "more": [2]}),
        (dict[str, list[float]], {"a": [0.0, 1e-9]}, {"a": [0.0, 1e-9]}),
        (tuple[Point, ...], (Point(0.0, "b", []),), [{"x": 0.0, "name": "b", "more": []}]),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
    ],
)
def test_coding_by_hand(kind, value, text):
    assert encode(value) == text
    assert decode(kind, text) == value


def test_no_number_stays_no_number():
    assert isnan(decode(float, encode(nan)))
    assert decode(float, 3) == 3.0


@given(st.lists(st.floats(width=64), max_size=6))
def test_arrays_come_back_to_the_bit(values):
    array = np.array(values).reshape(-1, 1)
    again = decode(np.ndarray, json.loads(json.dumps(encode(array))))
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (int, "7", "report: expected int, got '7'"),
        (int, True, "report: expected int, got 'True'"),
        (float, "much", "report: expected float, got 'much'"),
        (list[int], [1, None], r"report\[1\]: expected int, got 'None'"),
        (dict[str, Point], {"a": {"x": 1.0}}, "report.a: expected x, name, more, got x"),
        (Point, {"x": 1.0, "name": 2, "more": None}, "report.name: expected str, got '2'"),
        (tuple[int, str], [1], "report: expected 2 entries, got 1"),
        (np.ndarray, {"shape": [2], "float64": "AAAA"}, "report: expected an array's shape and float64s, got"),
        (np.ndarray, {"shape": [2]}, "report: expected an array's shape and float64s, got 'float64'"),
    ],
)
def test_what_is_of_another_type(kind, data, message):
    with pytest.raises(ArchiveError, match=message):
        decode(kind, data)


def _changed(change):
    def write(path):
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return write


def _too_large(path):
    text = path.read_text()
    assert '"seconds":{' in text
    path.write_text(re.sub(r'("seconds":{"[^"]*":)[^,}]*', r"\g<1>1e999", text, count=1))


def _renamed(data):
    data["report"]["evaluation"]["plan"]["sedd"] = data["report"]["evaluation"]["plan"].pop("seed")
    data.update(json.loads(_signed(data)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: path.unlink(),
            r"expected .*recording.json, which `skyclone evaluate --out .*; there is none",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged: expected JSON, got"),
        (lambda path: path.write_text(archive.MARK.decode() + "[" * 100_000), "is damaged: expected JSON, got"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "is damaged: expected JSON, got"),
        (lambda path: path.write_text("[NaN]"), "is damaged: expected JSON, got the constant NaN"),
        (lambda path: path.write_text('{"version": 1}'), "expected the archive of an evaluation, got another file"),
        (_changed(lambda data: data.update(version=2)), "expected version 1 of the archive, got 2. Take the"),
        (_changed(lambda data: data["report"].update(command="x")), "is damaged: .* another sha256 than it says"),
        (_too_large, "is damaged: .* another sha256 than it says"),
        (_changed(_renamed), r"written by another skyclone: report.evaluation.plan: expected .*seed.* got .*sedd"),
    ],
    ids=["missing", "cut", "deep", "binary", "nan", "another file", "version", "changed", "large", "renamed"],
)
def test_damage_is_reported(folder, damage, message):
    damage(folder / archive.NAME)
    with pytest.raises(ArchiveError, match=message):
        archive.read(folder)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_folder_or_a_device_where_the_file_should_be(tmp_path, make):
    make(tmp_path / archive.NAME)
    with pytest.raises(ArchiveError, match="expected the archive of an evaluation, got a folder or a device"):
        archive.read(tmp_path)


def test_another_file_is_not_read_whole(tmp_path):
    with open(tmp_path / archive.NAME, "wb") as file:
        file.truncate(60 * 10**9)
    with pytest.raises(ArchiveError, match="is damaged: expected JSON, got"):
        archive.read(tmp_path)


def test_an_archive_made_before_is_read(folder):
    output.write_again(folder, folder / "report.html")
    text = (folder / "report.html").read_text()
    for part in ("2026-11-25 12:00 UTC", "LoS against density", "How they learned", "masking matters"):
        assert part in text, part
    assert text.count("<figure>") == 2 + 4 + 1 + 5  # differences, contenders, learning, attention


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["evaluation"]["estimates"].popitem(),
        lambda report: report["evaluation"]["estimates"]["mvp"].pop("los_events"),
        lambda report: report["replay"]["contenders"].clear(),
        lambda report: next(iter(report["attention"].values()))["entropy"].clear(),
        lambda report: report["evaluation"]["plan"].update(batch=10**400, scenarios=-(10**400)),
    ],
)
@pytest.mark.usefixtures("without_plots")
def test_parts_that_contradict_each_other(folder, change):
    path = folder / archive.NAME
    data = json.loads(path.read_text())
    change(data["report"])
    path.write_text(_signed(data))
    with suppress(ArchiveError):
        output.write_again(folder, folder / "report.html")


VALUES = (
    None, True, -1, 0, 10**400, 2**63, 1e308, -1e308, 5e-324, "nan", "inf", "",
    "\ud800<script>", "a\0b", "0" * 99_999,
    [], {}, [[]], [1] * 1000,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # numpy's and matplotlib's, about figures of 1e308
def test_altered_archives_end_in_a_page_or_in_one_line(folder):
    """Anything else that is raised would be a traceback on the screen."""
    path = folder / archive.NAME
    original = path.read_text()
    generator = random.Random(11)
    refused = 0
    for _ in range(25):
        data = json.loads(original)
        holder, key = generator.choice(list(_places(data["report"])))
        how = generator.randrange(4)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.append(holder[key])
        elif how == 1:
            holder[generator.choice(("mvp", "stranger", "\udcff"))] = holder[key]
        else:
            holder[key] = generator.choice(VALUES)
        path.write_text(_signed(data))
        try:
            output.write_again(folder, folder / "report.html")
        except ArchiveError:
            refused += 1
    assert 10 < refused < 25


def _places(value):
    """Yield each list or object inside, with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _signed(data):
    """The archive's text, with the hash of what it holds now."""
    text = json.dumps(data["report"], separators=(",", ":"))
    return json.dumps({**data, "sha256": hashlib.sha256(text.encode()).hexdigest()})
