import numpy as np
import pytest

from skyclone.collect import teachers
from skyclone.collect.airspace.geodesy import EARTH_RADIUS_M
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.exports.flight import Place, flight_of
from skyclone.datasets.errors import ConfigurationError


def straight() -> dict[str, np.ndarray]:
    """Two rows of one M600 that flies north at 10 m/s from the centre, and then turns right as far as it can."""
    row = {"step": 4, "aircraft": 2, "east_m": 0, "north_m": 0, "track_rad": 0, "speed_mps": 10}
    row |= {"waypoint_east_m": 0, "waypoint_north_m": 900, "pilot_turn": 0, "pilot_speed": 0}
    rows = {name: np.array([value, value], np.float32) for name, value in row.items()}
    rows["step"], rows["aircraft"] = np.array([4, 5], np.int16), np.array([2, 2], np.int16)
    rows["north_m"][1] = 10.0
    rows["pilot_turn"][1], rows["pilot_speed"][1] = 1.0, -1.0
    return rows


def test_worked_out_by_hand() -> None:
    (track,) = flight_of(straight(), WorldConfig(), Place(0.0, 10.0, 50.0), "by hand").tracks
    assert (track.number, track.callsign, track.kind) == (2, "SC002", "M600")
    assert track.time_s.tolist() == [4.0, 5.0, 6.0]
    per_m = 180.0 / np.pi / EARTH_RADIUS_M
    np.testing.assert_allclose(track.place_deg[:2], [[0.0, 10.0], [10.0 * per_m, 10.0]], atol=1e-12)
    assert track.place_deg[2, 0] > 15.0 * per_m, "it has flown its last step"
    assert track.place_deg[2, 1] > 10.0
    np.testing.assert_allclose(track.to_track_deg, [0.0, 45.0], atol=1e-6)
    np.testing.assert_allclose(track.to_speed_mps, [10.0, 10.0 - WorldConfig().speed_change_mps], rtol=1e-6)


def test_who_hovers_stays() -> None:
    rows = straight()
    for name in ("waypoint_east_m", "waypoint_north_m"):
        rows[name][:] = np.nan
    rows["speed_mps"][:], rows["north_m"][:] = 0.0, 7.0
    (track,) = flight_of(rows, WorldConfig(), Place(0.0, 10.0), "hovering").tracks
    assert np.ptp(track.place_deg, axis=0).tolist() == [0.0, 0.0]
    fast = WorldConfig(min_speed_mps=5.0)
    rows["pilot_turn"][:], rows["pilot_speed"][:] = 1.0, 1.0  # whatever noise may have put there
    (track,) = flight_of(rows, fast, Place(0.0, 10.0), "hovering").tracks
    assert track.to_speed_mps.tolist() == [0.0, 0.0], "nobody flies it, not even as slowly as its type can"
    np.testing.assert_allclose(track.to_track_deg, track.track_deg[:-1], atol=1e-6)


def test_a_tailwind_makes_it_faster_than_its_type_is() -> None:
    rows = straight()
    rows["speed_mps"][:] = 22.0
    rows |= {"wind_east_mps": np.zeros(2, np.float32), "wind_north_mps": np.full(2, 8.0, np.float32)}
    (track,) = flight_of(rows, WorldConfig(), Place(0.0, 10.0), "in the wind").tracks
    np.testing.assert_allclose(track.to_speed_mps, [22.0, 22.0 - WorldConfig().speed_change_mps], rtol=1e-6)


def test_types_of_a_fleet_are_named() -> None:
    config = WorldConfig(aircraft=6, fleet="m600=0.5,mavic=0.5", max_steps=5)
    rows = record(config, 0, [0], teachers.make("none", config))[0]
    kinds = {track.kind for track in flight_of(rows, config, Place(48.0, 11.0), "fleet").tracks}
    assert kinds == {"M600", "MAVIC"}


@pytest.mark.parametrize("text", ["", "52.3", "52.3;4.7", "91,0", "0,181", "nan,0", "1,2,3"])
def test_what_is_no_place_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a place LATITUDE,LONGITUDE"):
        Place.parse(text)
