"""CZML: JSON of the form that Cesium documents."""

import json
from datetime import UTC, datetime

import numpy as np

from skyclone.collect.exports import czml
from skyclone.collect.exports.flight import Flight, Track


def two() -> Flight:
    """Return two aircraft, one of which enters two seconds later."""
    zero, places = np.zeros(2), np.array([[52.0, 4.0 + i / 10] for i in range(3)])
    rest = (places, np.full(3, 90.0), np.full(3, 9.0), zero, zero)
    tracks = tuple(Track(n, f"SC{n:03d}", "M600", np.arange(3.0) + 2 * n, *rest) for n in range(2))
    return Flight("two", datetime(2026, 3, 1, 12, tzinfo=UTC), 1.0, 100.0, 30.0, tracks)


def test_form() -> None:
    data = czml.encode(two())
    assert data[:500].count(czml.MARK) == 1
    document, first, second = json.loads(data)
    assert (document["id"], document["version"]) == ("document", "1.0")
    assert document["clock"]["interval"] == "2026-03-01T12:00:00Z/2026-03-01T12:00:04Z"
    assert first["availability"] == "2026-03-01T12:00:00Z/2026-03-01T12:00:02Z"
    assert second["availability"] == "2026-03-01T12:00:02Z/2026-03-01T12:00:04Z"
    assert first["position"]["cartographicDegrees"] == [
        0.0,
        4.0,
        52.0,
        30.0,
        1.0,
        4.1,
        52.0,
        30.0,
        2.0,
        4.2,
        52.0,
        30.0,
    ]
    assert second["position"]["cartographicDegrees"][0] == 2.0
    assert first["ellipse"]["semiMajorAxis"] == 50.0
    assert len({packet["id"] for packet in (document, first, second)}) == 3
