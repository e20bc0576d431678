import hashlib
import json
import re
from math import inf, isnan, nan
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.evaluate.attention import attention
from skyclone.evaluate.report import archive as recording
from skyclone.evaluate.report import replay
from skyclone.evaluate.report.archive import RecordingError, decode, encode
from skyclone.evaluate.report.learning_curves import Curve
from skyclone.evaluate.report.page import Report, render


class Point(NamedTuple):
    x: float
    name: str
    more: list[int] | None


@pytest.fixture(scope="module")
def report(evaluated):
    evaluation, loaded = evaluated
    plan = evaluation.plan
    run = plan.contenders[-1].name
    return Report(
        evaluation,
        "skyclone evaluate <run>",
        "2030-01-01 12:00 UTC",
        {run: attention.watch(loaded[run].policy, plan.world, plan.seed, range(1))},
        {run: {"imitation": [Curve("training", [1, 2], [0.5, 0.1], "iteration", "loss")]}},
        replay.record(list(loaded.values()), plan.world, plan.seed, range(1)),
        "skyclone 0.0.1; torch 1.0",
    )


@pytest.fixture
def folder(report, tmp_path):
    (tmp_path / recording.NAME).write_bytes(recording.write(report))
    return tmp_path


def test_the_page_is_the_same_to_the_last_byte(report, folder):
    again = recording.read(folder, Report)
    page = render(again)
    assert page == render(report)
    assert "skyclone 0.0.1; torch 1.0" in page
    assert again.evaluation.to_json() == report.evaluation.to_json()
    figures = again.evaluation.figures["mvp"]
    np.testing.assert_array_equal(figures.nearest_m, report.evaluation.figures["mvp"].nearest_m)


def test_its_form(folder):
    data = json.loads((folder / recording.NAME).read_text())
    assert (data["format"], data["version"]) == ("skyclone recording", 1)
    assert set(data["report"]) == {"evaluation", "command", "made_at", "attention", "curves", "replay", "code"}
    assert data["report"]["replay"]["version"] == 1
    assert data["report"]["evaluation"]["plan"]["world"]["aircraft"] == 6


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
    with pytest.raises(RecordingError, match=message):
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
    text = json.dumps(data["report"], separators=(",", ":"))
    data["sha256"] = hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: path.unlink(),
            r"expected .*recording.json, which `skyclone evaluate --out .*; there is none",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged: expected JSON, got"),
        (lambda path: path.write_text("[" * 100_000), "is damaged: expected JSON, got"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "is damaged: expected JSON, got"),
        (lambda path: path.write_text("[NaN]"), "is damaged: expected JSON, got the constant NaN"),
        (lambda path: path.write_text('{"version": 1}'), "expected a recorded evaluation, got another file"),
        (_changed(lambda data: data.update(version=2)), "expected version 1 of the recording, got 2. Take the"),
        (_changed(lambda data: data["report"].update(command="x")), "is damaged: .* another sha256 than it says"),
        (_too_large, "is damaged: .* another sha256 than it says"),
        (_changed(_renamed), r"written by another skyclone: report.evaluation.plan: expected .*seed.* got .*sedd"),
    ],
    ids=["missing", "cut", "deep", "binary", "nan", "another file", "version", "changed", "large", "renamed"],
)
def test_damage_is_told(folder, damage, message):
    damage(folder / recording.NAME)
    with pytest.raises(RecordingError, match=message):
        recording.read(folder, Report)


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / recording.NAME).mkdir()
    with pytest.raises(RecordingError, match="cannot be read: Is a directory"):
        recording.read(tmp_path, Report)
