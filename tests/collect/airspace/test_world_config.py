import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.errors import ConfigurationError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aircraft": 0}, r"expected aircraft from 1 to 32,000, got 0\. Use --aircraft 20"),
        ({"aircraft": -3}, r"expected aircraft from 1 to 32,000, got -3"),
        ({"aircraft": 2.5}, r"expected aircraft to be a whole number from 1 to 32,000, got 2\.5"),
        ({"aircraft": 32_001}, r"expected aircraft from 1 to 32,000, got 32001\. .*numbered in int16"),
        ({"max_steps": 0}, r"expected max_steps from 1 to 32,000, got 0\. Steps are stored as int16"),
        ({"max_steps": 40_000}, r"expected max_steps from 1 to 32,000, got 40000"),
        ({"step_s": 0.0}, r"expected step_s above 0, got 0\.0"),
        ({"lookahead_s": float("nan")}, r"expected lookahead_s above 0, got nan"),
        ({"protected_zone_m": -100.0}, r"expected protected_zone_m above 0, got -100"),
        ({"sector_radius_m": "wide"}, r"expected sector_radius_m to be a number above 0, got 'wide'"),
        ({"cruise_mps": 20.0}, r"expected min_speed_mps <= cruise_mps <= max_speed_mps, got 0\.0, 20\.0, 18\.0"),
    ],
)
def test_bad_worlds(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        WorldConfig(**changes)


def test_round_trip_as_json():
    config = WorldConfig(aircraft=7, scenario="circle:jitter_m=3", max_steps=99)
    assert WorldConfig.from_json(config.to_json()) == config


def test_json_of_another_version():
    data = WorldConfig().to_json()
    del data["cruise_mps"]
    message = r"missing keys \['cruise_mps'\], unknown keys \['wind_mps'\]\. .*Was it written by another version"
    with pytest.raises(ConfigurationError, match=message):
        WorldConfig.from_json({**data, "wind_mps": 3.0})
