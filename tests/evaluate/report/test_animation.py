import base64
import io

import numpy as np
import pytest
from PIL import Image

from skyclone.evaluate.report import animation
from skyclone.evaluate.report.animation import FRAMES_PER_S, SECONDS, Decoded
from skyclone.evaluate.report.camera import GONE


@pytest.fixture
def right(report) -> Decoded:
    """The flight on the right."""
    return animation.panels_of(report.replay, {})[-1][1]


def test_a_flight_is_read_again(report, right):
    positions = np.frombuffer(base64.b64decode(right.flight.positions), "<i2").reshape(right.flight.steps, 6, 2)
    np.testing.assert_array_equal(np.isnan(right.places_m[..., 0]), positions[..., 0] == GONE)
    assert right.places_m[0] == pytest.approx(positions[0] * report.replay.unit_m)
    assert right.rows[0].tolist() == list(range(6))
    assert sum(map(len, right.conflicts)) == len(right.flight.conflicts)
    looks = right.looks(0, 2)
    assert len(looks) == 4
    assert np.sum([weights for _, weights in looks], axis=0) == pytest.approx([1, 1, 1], abs=0.01)


def test_losses_are_counted_as_in_the_table(report):
    name, left = animation.panels_of(report.replay, {"none": "unresolved"})[0]
    assert name == "unresolved"
    assert left.events[-1] == report.evaluation.figures["none"].los_events[0] > 0


def test_a_picture_of_the_busiest_moment(report):
    data = animation.picture(report.replay, report.evaluation.plan.short_names, side=200)
    image = Image.open(io.BytesIO(data))
    assert (image.width, image.height) == (410, 226)
    assert animation.MARK in data[:4096]
    colours = {colour for _, colour in image.convert("RGB").getcolors(10**6)}
    assert len(colours) > 50
    assert animation.picture(report.replay, report.evaluation.plan.short_names, side=200) == data


def test_ten_seconds_of_it(report):
    data = animation.animation(report.replay, {}, side=120)
    image = Image.open(io.BytesIO(data))
    durations = []
    for frame in range(image.n_frames):
        image.seek(frame)
        durations.append(image.info["duration"])
    assert sum(durations) == 1000 * SECONDS
    assert len(durations) <= SECONDS * FRAMES_PER_S  # frames that are alike are shown once, for longer
    image.seek(image.n_frames // 2)
    first = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(first, int)).max() > 100
    assert len(data) < 10**6
