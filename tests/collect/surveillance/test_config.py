"""The quality of surveillance: names, numbers, and what cannot be."""

from pathlib import Path

import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.surveillance.config import PRESETS, RADII_95, Surveillance, parse
from skyclone.datasets.config import fields_of
from skyclone.datasets.errors import ConfigurationError


def test_names_and_numbers() -> None:
    assert parse("perfect") is None
    assert parse("noise") == Surveillance()
    assert parse("noise:position_m=5:between=extrapolate") == Surveillance(position_m=5.0, between="extrapolate")
    assert parse("remote-id:reception=0.8").range_m == PRESETS["remote-id"].range_m


def test_the_radius_of_95_percent() -> None:
    assert pytest.approx(2.4477, abs=1e-4) == RADII_95
    assert PRESETS["ads-b"].position_m * RADII_95 == pytest.approx(30.0)
    assert PRESETS["remote-id"].velocity_mps * RADII_95 == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("radar", "unknown surveillance 'radar'. There are: perfect, noise, ads-b, remote-id."),
        ("perfect:reception=1", "surveillance 'perfect' has no parameter 'reception'. It has: none."),
        ("noise:latency=1", "surveillance 'noise' has no parameter 'latency'"),
        ("noise:reception=1.5", "expected reception above 0 and up to 1, got 1.5"),
        ("noise:reception=0", "expected reception above 0 and up to 1, got 0"),
        ("noise:between=guess", "expected one of hold, extrapolate, filter for between, got 'guess'"),
        ("noise:latency_s=1:latency_spread_s=2", "expected latency_spread_s of at most latency_s"),
        ("noise:latency_s=20", "expected drop_s of at least the latency"),
        ("noise:drop_s=1000", "expected drop_s of 0 to 600 s"),
        ("noise:drop_s=0.5:latency_s=0.4", "at least a step above the latency"),
    ],
)
def test_what_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        WorldConfig(surveillance=text)
    assert message in str(error.value)


def test_a_world_keeps_it_and_older_files_mean_perfect() -> None:
    world = WorldConfig(surveillance="remote-id")
    assert WorldConfig.from_json(world.to_json()) == world
    assert "surveillance" not in WorldConfig().to_json()


def test_every_field_is_documented_with_its_presets() -> None:
    text = (Path(__file__).parents[3] / "docs" / "surveillance.md").read_text(encoding="utf-8")
    for name, field in fields_of(Surveillance).items():
        values = [getattr(preset, name) for preset in PRESETS.values()]
        shown = " | ".join(f"{value:.4g}" if isinstance(value, float) else value for value in values)
        assert f"| {shown} | {field.description} |" in text, name
        assert f"| `{name}` |" in text
    assert all(f"`{name}`" in text for name in ("perfect", *PRESETS))
