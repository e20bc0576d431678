"""CZML: JSON of the form that Cesium documents."""

import json

from skyclone.collect.exports import czml
from skyclone.collect.exports.flight import Flight


def test_form(two: Flight) -> None:
    data = czml.encode(two)
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
