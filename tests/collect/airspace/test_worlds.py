"""Worlds by name, by file, with changes; and back to a file."""

import os
import string
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace import worlds
from skyclone.collect.airspace.units import GRAVITY_MPS2
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios import lay_out, world_for
from skyclone.datasets.config import fields_of
from skyclone.datasets.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
NUMBERS = [name for name, field in fields_of(WorldConfig).items() if field.annotation is float]
SPEEDS = ("min_speed_mps", "cruise_mps", "max_speed_mps")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20).filter(lambda t: not t.startswith("file:"))


@st.composite
def any_world(draw: st.DrawFn) -> WorldConfig:
    """Draw a world, most of which nobody could fly."""
    changes: dict[str, object] = {name: draw(st.floats(1e-9, 1e12)) for name in NUMBERS}
    for name in ("wind_east_mps", "wind_north_mps", "gust_mps"):
        changes[name] = draw(st.floats(0, 50))
    changes["fleet"] = draw(st.sampled_from(["", "m600=1", "wing(cruise_mps=20;protected_zone_m=150)=2,a320=0.5"]))
    changes.update(zip(SPEEDS, sorted(draw(st.floats(1e-9, 1e12)) for _ in SPEEDS), strict=True))
    for name in ("aircraft", "max_steps"):
        changes[name] = draw(st.integers(1, 32_000))
    for name in ("scenario", "reward", "simulator"):
        changes[name] = draw(TEXT)
    return WorldConfig(**changes)  # type: ignore[arg-type]


def test_presets() -> None:
    assert worlds.parse("m600") == WorldConfig() == worlds.PRESETS[worlds.DEFAULT].world == worlds.named(None)
    enroute = worlds.parse("enroute")
    assert (enroute.protected_zone_m, enroute.lookahead_s, enroute.step_s) == (9260.0, 300.0, 5.0)
    for preset in worlds.PRESETS.values():
        world = preset.world
        lay_out(world, 0, 0)  # there is room for the aircraft
        pull = GRAVITY_MPS2 * 0.4663
        assert world.waypoint_radius_m > world.cruise_mps**2 / pull, (
            "else an aircraft could circle around it for ever"
        )
        assert world.speed_change_mps >= 0.4 * world.acceleration_mps2 * world.step_s
        assert world.turn_rad > pull / world.cruise_mps * world.step_s, (
            "an action can ask for all that can be flown"
        )
        assert world.max_steps * world.step_s > 1.4 * 2 * world.sector_radius_m / world.cruise_mps
        head_on_s = (world.start_separation_m - world.protected_zone_m) / (2 * world.cruise_mps)
        assert head_on_s > world.step_s


def test_changes() -> None:
    world = worlds.parse("m600:protected_zone_m=50:cruise_mps=12")
    assert world == WorldConfig(protected_zone_m=50.0, cruise_mps=12.0)
    assert worlds.parse("m600:cruise_mps=12:protected_zone_m=50") == world
    assert worlds.parse("enroute:aircraft=40:scenario=crossing").aircraft == 40
    assert worlds.named("enroute") == worlds.parse("enroute")
    assert worlds.named(world) is world


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_order_of_changes_means_nothing(data: st.DataObject) -> None:
    changes = data.draw(st.dictionaries(st.sampled_from(["lookahead_s", "step_s", "bank_rad"]), st.floats(1, 9)))
    texts = [f":{key}={value!r}" for key, value in changes.items()]
    shuffled = data.draw(st.permutations(texts))
    expected = replace(WorldConfig(), **changes)  # type: ignore[arg-type]
    assert worlds.parse("m600" + "".join(texts)) == worlds.parse("m600" + "".join(shuffled)) == expected


@settings(max_examples=100, deadline=None)
@given(world=any_world())
def test_a_world_becomes_a_file_and_the_same_world_again(
    tmp_path_factory: pytest.TempPathFactory, world: WorldConfig
) -> None:
    path = tmp_path_factory.getbasetemp() / "world.toml"
    path.write_text(worlds.to_toml(world), encoding="utf-8")
    assert worlds.read(path) == world == worlds.parse(str(path))


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text('base = "enroute"\nlookahead_s = 600\n')
    expected = replace(worlds.parse("enroute"), lookahead_s=600.0)
    assert worlds.parse("my.toml") == worlds.parse(str(tmp_path / "my.toml")) == expected
    assert worlds.parse("my.toml:step_s=2:aircraft=7") == replace(expected, step_s=2.0, aircraft=7)
    Path("m600").write_text("aircraft = 3\n")
    assert worlds.parse("m600").aircraft == 20  # the preset
    assert worlds.parse("./m600").aircraft == 3
    Path("bom.toml").write_bytes(b"\xef\xbb\xbfaircraft = 4\r\n")
    assert worlds.parse("bom.toml").aircraft == 4
    Path("empty.toml").write_text("")
    assert worlds.parse("empty.toml") == WorldConfig()


@pytest.mark.skipif(os.name == "nt", reason="no file there has a colon in its name")
@pytest.mark.parametrize("name", ["C:my.toml", r"C:\worlds\my.toml", "a:b=c", "a:step_s=2", "with space.toml"])
def test_paths_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("aircraft = 5\n")
    assert worlds.parse(name) == WorldConfig(aircraft=5)
    assert worlds.parse(f"{name}:step_s=4") == WorldConfig(aircraft=5, step_s=4.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "m601",
            r"unknown world 'm601'\. There are: m600, enroute, u-space; or name a TOML file, such as my\.toml",
        ),
        ("", r"unknown world ''"),
        (":step_s=2", r"unknown world ''"),
        ("m600:", r"expected NAME:key=value:key=value, got ''\. Example: m600:aircraft=20"),
        (
            "m600:protected_zone=50",
            r"world 'm600' has no parameter 'protected_zone'\. It has: aircraft, scenario, ",
        ),
        ("m600:step_s=fast", r"world 'm600': expected a number for step_s, got 'fast'\. Example: m600:aircraft=20"),
        ("m600:aircraft=2.5", r"expected a whole number for aircraft, got '2\.5'"),
        ("m600:step_s=nan", "expected a number for step_s, got nan"),
        ("m600:step_s=-1", r"expected step_s above 0, got -1"),
        ("m600:step_s=1:step_s=2", "expected step_s once, got it again"),
        ("m600:cruise_mps=20", r"expected min_speed_mps <= cruise_mps <= max_speed_mps, got 0\.0, 20\.0, 18\.0"),
        (
            "nowhere.toml",
            r"world 'nowhere\.toml': expected a TOML file, there is none\. `skyclone worlds m600 > my",
        ),
        ("nowhere.toml:step_s=2", r"world 'nowhere\.toml': expected a TOML file, there is none"),
        (r"C:\nowhere.toml:step_s=2", r"world 'C:.*nowhere\.toml': expected a TOML file, there is none"),
        (".", r"world '\.': expected a TOML file, got: expected a regular file, got a folder"),
        ("/dev/zero", "expected a TOML file, got: expected a regular file, got a folder, a pipe or a device"),
        ("x/\0", "expected TOML|embedded null"),
        ("y" * 10_000 + ".toml", "expected a TOML file, got: File name too long"),
    ],
)
def test_what_is_no_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        worlds.parse(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"step_s 2",
            r"world '.*': expected TOML, got: Expected '=' after a key.*\. `skyclone worlds m600 > my\.toml`",
        ),
        (b"\x89PNG\r\n\x1a\n\xff", "expected TOML in UTF-8, got other bytes"),
        (b"a = " + b"[" * 10_000, "expected TOML, got: "),
        (b"aircraft = " + b"9" * 5000, "expected TOML, got: "),
        (b"#" * (2**20 + 1), r"expected TOML of at most 1,048,576 bytes, got 1,048,577"),
        (b"zone_m = 3", r"world '.*' has no parameter 'zone_m'\. It has: aircraft, "),
        (
            b"step_s = '2'",
            r"expected a number for step_s, got '2'\. `skyclone worlds m600` prints a file that can be",
        ),
        (b"step_s = nan", "expected a number for step_s, got nan"),
        (b"step_s = 0", r"world '.*': expected step_s above 0, got 0"),
        (b"step_s = true", "expected a number for step_s, got True"),
        (b"[step_s]\nvalue = 3", "expected a number for step_s, got {'value': 3}"),
        (b"aircraft = 2.0", "expected a whole number for aircraft, got 2.0"),
        (b"base = 'my.toml'", r"expected base to be one of m600, enroute, u-space, got 'my\.toml'"),
        (b"base = 3", "expected base to be one of m600, enroute, u-space, got 3"),
        (
            b"scenario = 'file:/etc'",
            "a file opens no other one. Leave it out, and name the file yourself: --scenario",
        ),
    ],
)
def test_files_that_are_no_world(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as error:
        worlds.read(path)
    assert len(str(error.value)) < 900


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
def test_any_file_is_a_world_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with suppress(ConfigurationError):
        worlds.read(path)


def test_texts_that_nobody_typed_open_no_files(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("aircraft = 3\n")
    assert worlds.named(str(path)).aircraft == 3
    with pytest.raises(ConfigurationError, match=r"unknown world .*parse\('my\.toml'\) reads one\.$"):
        worlds.named(str(path), files=False)


def test_scenarios_start_from_the_world(tmp_path: Path) -> None:
    base = worlds.parse("enroute:max_steps=99")
    assert world_for("circle", 7, base=base) == replace(base, aircraft=7, scenario="circle")
    assert world_for("circle", base=base).aircraft == 20


def test_another_scale_is_told_with_the_numbers_that_differ() -> None:
    there = WorldConfig(aircraft=40, max_steps=9, outside_m=1.0, reward="detour").to_json()
    assert worlds.scale_warning("a", there, WorldConfig()) is None
    assert worlds.scale_warning("a", None, WorldConfig()) is None
    assert worlds.scale_warning("pretrained:tuned", there, WorldConfig(protected_zone_m=50)) == (
        "pretrained:tuned was trained with protected_zone_m 100; here it is 50."
    )
    assert worlds.scale_warning("b", there, worlds.parse("m600:lookahead_s=20:step_s=2:turn_rad=1.5")) == (
        "b was trained with lookahead_s 15, step_s 1 and turn_rad 0.7853981634; here they are 20, 2 and 1.5."
    )
    assert set(worlds.SCALE) < set(asdict(WorldConfig()))


def test_every_field_is_documented_with_unit_and_default() -> None:
    text = (ROOT / "docs" / "worlds.md").read_text(encoding="utf-8")
    for name, unit, default, _ in worlds.fields():
        shown = f"{default:.6g}" if isinstance(default, float) else str(default)
        others = [getattr(worlds.PRESETS[preset].world, name) for preset in ("enroute", "u-space")]
        there = " | ".join(f"{other:.6g}" if isinstance(other, float) else str(other) for other in others)
        assert f"| `{name}` | {unit} | {shown} | {there} | " in text
    for name, preset in worlds.PRESETS.items():
        assert f"`{name}`: {preset.text}" in text
