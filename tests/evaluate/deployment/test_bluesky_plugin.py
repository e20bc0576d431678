"""The plugin inside BlueSky itself: a .scn scenario, with and without RESO SKYCLONE."""

import configparser
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet

from skyclone.collect.simulators import bluesky_process
from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.deployment.cli import PLUGIN, install, plugin
from skyclone.train import checkpoint

pytestmark = pytest.mark.skipif(find_spec("bluesky") is None, reason="needs skyclone[bluesky]")
EARTH_M = 6_371_000.0
PROGRAM = Path(__file__).with_name("fly_in_bluesky.py")
HEAD = """00:00:00.00>CDMETHOD STATEBASED
00:00:00.00>ZONER 0.054
00:00:00.00>DTLOOK 15
00:00:00.00>PLUGIN LOAD SKYCLONE
"""


def drone(
    name: str,
    east: float,
    north: float,
    goal_east: float,
    goal_north: float,
    feet: float = 100,
    knots: float = 17.5,
) -> str:
    """An M600 with a destination, as two lines of a scenario around 52 N."""

    def place(east: float, north: float) -> str:
        along = math.degrees(east / EARTH_M / math.cos(math.radians(52)))
        return f"{52 + math.degrees(north / EARTH_M):.8f},{4.37 + along:.8f}"

    track = math.degrees(math.atan2(goal_east - east, goal_north - north)) % 360
    return (
        f"00:00:00.00>CRE {name},M600,{place(east, north)},{track:.4f},{feet},{knots}\n"
        f"00:00:00.00>DEST {name} {place(goal_east, goal_north)}\n"
    )


def through_one_point(drones: int) -> str:
    """Return drones on a circle of 700 m, each with its destination opposite."""
    places = [[700 * f(2 * math.pi * each / drones) for f in (math.sin, math.cos)] for each in range(drones)]
    return "".join(drone(f"D{each}", *place, -place[0], -place[1]) for each, place in enumerate(places))


def fly(folder: Path, scenario: str, seconds: int, *methods: str) -> dict[str, Any]:
    """Install the plugin and fly a scenario in a BlueSky of its own."""
    install(folder)
    (folder / "scenario").mkdir()
    (folder / "scenario" / "own.scn").write_text(HEAD + scenario)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(seconds), *methods],
        capture_output=True, text=True, check=False, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    flown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return flown


@pytest.mark.slow
def test_reso_skyclone_flies_a_policy_and_leaves_the_others_alone(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    """An untrained policy, so that one sees who is flown by it: not the airliner, and not without a policy."""
    run = make_run(tmp_path / "My Runs" / "clone")
    scenario = drone("D1", 0, -400, 0, 400) + drone("D2", 0, 400, 0, -400)
    scenario += "00:00:00.00>CRE KL1,B744,52.1,4.3,90,FL300,250\n00:00:00.00>CRE KL2,B744,52.2,4.3,90,FL300,250\n"
    unnamed, named = "RESO SKYCLONE", f"SKYCLONE {run};RESO SKYCLONE;SKYCLONE"
    missing, again = f"SKYCLONE {tmp_path}/nowhere", "SKYCLONE;RESO SKYCLONE"
    flown = fly(tmp_path, scenario, 20, f"SKYCLONE {run}", "RESO OFF;SKYCLONE", unnamed, missing, named, again)
    _, plain, without, wrong, with_run, later = flown.values()
    for each in (plain, later):
        assert "No policy is loaded. SKYCLONE RUN." in each["said"], "IC resets BlueSky, and forgets the policy"

    said = "\n".join(with_run["said"])
    assert "Selected SkyClone as CR method." in said
    assert (
        said.count("9 m/s cruise, up to 18 m/s, protected zone 100 m (ZONER 0.0540)") == 2
    )  # loaded, and asked for
    reason = (
        "SKYCLONE: 2 aircraft left to the autopilot (KL1, KL2): faster than the 18 m/s (35 kt) it was trained for."
    )
    assert [line for line in with_run["said"] if "autopilot" in line] == [reason], "once, not every second"
    assert any("there is no such folder" in line for line in wrong["said"])

    airliners = [place for place, name in enumerate(with_run["id"]) if name.startswith("KL")]
    for name in ("lat", "lon", "trk", "gs"):
        for place in airliners:
            assert with_run[name][place] == plain[name][place]
        assert with_run[name][0] != plain[name][0], "the policy has flown D1"
    assert with_run["alt"] == plain["alt"], "altitudes are the autopilot's"
    if any("no policy is loaded" in line for line in without["said"]):  # it does not ship in every build
        assert without["lat"] == plain["lat"]


@pytest.mark.slow
def test_autopilots_hold_what_they_are_told(tmp_path: Path) -> None:
    """Pairs 20 km apart: descending, slow, one in front of a hovering drone; and two drones with nobody near."""
    scenario = drone("A", 0, -550, 0, 550, feet=300) + drone("B", 0, 550, 0, -550, feet=300)
    scenario += drone("S", 20_000, -150, 20_000, 300, knots=8) + drone("T", 20_000, 150, 20_000, -300, knots=8)
    scenario += drone("F", 40_000, -550, 40_000, 550) + drone("H", 40_000, 0, 40_000, 0, knots=0)
    scenario += (
        drone("K", 60_000, 0, 60_000, 5000) + "00:00:00.00>SPD K 8\n" + drone("L", 80_000, 0, 80_000, 0, knots=0)
    )
    scenario = "".join(each for each in scenario.splitlines(True) if "DEST H" not in each and "DEST L" not in each)
    flown = fly(tmp_path, scenario, 140, "RESO OFF", "SKYCLONE pretrained:clone;RESO SKYCLONE")
    plain, resolved = flown.values()
    assert plain["los"] == 3
    assert resolved["los"] == 0
    assert plain["arrived_s"].keys() == resolved["arrived_s"].keys() == set("ABFST")
    place, fastest = {name: resolved["id"].index(name) for name in "HKL"}, resolved["fastest_mps"]
    for column in ("lat", "lon", "alt", "trk", "gs"):
        for name in "HKL":
            assert resolved[column][place[name]] == plain[column][plain["id"].index(name)], "left to its autopilot"
    assert all(fastest[name] < 8.2 * 1852 / 3600 for name in "ST"), "8 kt were commanded"
    reason = "SKYCLONE: 2 aircraft left to the autopilot (H, L): told to hover (0 kt): it stays, and is avoided."
    assert reason in resolved["said"]


@pytest.mark.slow
def test_in_wind_airspeeds_are_what_was_commanded(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    """A policy that asks for nothing, in 10 kt towards east, above 50 ft and below: all hold heading and airspeed.

    Headings are those that autopilots had begun to correct for the wind until then, by up to 35 degrees: that of a
    held track below 50 ft, where BlueSky corrects for a wind that moves nobody, would turn on and on. One that
    hovers drifts with the wind, and is told to hover nevertheless.
    """
    run = make_run(tmp_path / "still")
    loaded = checkpoint.load(run)
    for weight in loaded.network.parameters():
        weight.data.zero_()
    checkpoint.save(run / "best", loaded.network, loaded.view, {"stage": "clone"})
    scenario = "00:00:00.00>WIND 52,4.37,,270,10\n"
    for place, feet in ((0, 100), (20_000, 30)):
        scenario += f"00:00:00.00>CRE A{place},M600,{52 + place / 111_195},4.370,0,{feet},17.5\n"
        scenario += f"00:00:00.00>CRE B{place},M600,{52.002 + place / 111_195},4.371,180,{feet},17.5\n"
    scenario += "00:00:00.00>CRE H,M600,52.001,4.370,0,100,0\n"
    (flown,) = fly(tmp_path, scenario, 5, f"SKYCLONE {run};RESO SKYCLONE").values()
    assert any("(H): told to hover" in line for line in flown["said"])
    for name, begun, sign in (("A0", 0, -1), ("B0", 180, 1), ("A20000", 0, -1), ("B20000", 180, 1)):
        place = flown["id"].index(name)
        assert flown["tas"][place] == pytest.approx(17.5 * 1852 / 3600, rel=2e-3)
        assert -1 < sign * ((flown["hdg"][place] - begun + 180) % 360 - 180) < 36


@pytest.mark.slow
def test_fewer_losses_of_separation_with_it_than_without(tmp_path: Path) -> None:
    """Eight drones through one point, in the released BlueSky and in the order of calls of newer ones."""
    method = "SKYCLONE pretrained:clone;RESO SKYCLONE"
    flown = fly(tmp_path, through_one_point(8), 150, "RESO OFF", method, "NEWER", "RESO MVP", f"RESO MVP;{method}")
    without, released, _, newer = flown.values()
    print(f"LoS events of eight drones: {without['los']} without, {released['los']} with RESO SKYCLONE")
    assert without["los"] == 28, "each pair once: they all meet in the middle"
    assert released["los"] <= 2
    off = "SKYCLONE: RESNAV is off, because RESO SKYCLONE resumes navigation itself."
    assert [off in each["said"] for each in flown.values()] == [False, False, False, True]
    for name in ("los", "arrived_s", "lat", "lon"):
        assert newer[name] == released[name], "nothing resumes navigation twice"


@pytest.mark.slow
def test_with_a_monitor_all_arrive_where_the_policy_stands_still(tmp_path: Path) -> None:
    """Two that begin 55 m apart on parallel ways, and 20 km away four that reach one waypoint at once."""
    inside = [drone("A1", 0, 0, 0, 800), drone("A2", 55, 0, 55, 800)]
    starts = {"S0": (0, 600), "S1": (591, 104), "S2": (104, -591), "S3": (-591, -104)}
    shared = [drone(name, 20_000 + east, north, 20_000, 0) for name, (east, north) in starts.items()]
    load = "SKYCLONE pretrained:tuned{};RESO SKYCLONE"
    end = "00:05:59.00>SKYCLONE\n"
    flown = fly(tmp_path, "".join((*inside, *shared)) + end, 360, load.format("@rta:patience_s=20"), "SKYCLONE")
    monitored, after = flown.values()
    assert monitored["arrived_s"].keys() == {"A1", "A2", *starts}
    said = "\n".join(monitored["said"])
    assert "pretrained:tuned@rta:patience_s=20 is loaded: 9 m/s cruise" in said
    assert said.count("(progress). This is said once;") == 1
    assert "Flown at present: nobody." in said
    often = re.search(r"so far: separation \d+, progress (\d+), .*; ([\d,]+) s flown by the fallback", said)
    assert often is not None
    assert all(int(each.replace(",", "")) > 0 for each in often.groups())
    assert any("No policy is loaded" in line for line in after["said"]), "IC forgets the monitor as well"


def test_only_versions_of_bluesky_that_were_flown_are_installed() -> None:
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[3] / "setup.cfg")
    name, versions = re.fullmatch(r"([a-z-]+)(.*)", settings["options.extras_require"]["bluesky"]).groups()  # type: ignore[union-attr]
    assert name == "bluesky-simulator"
    assert SpecifierSet(versions).contains(bluesky_process.bluesky_version())
    assert not SpecifierSet(versions).contains("1.2")


def test_installing(tmp_path: Path) -> None:
    done = CliRunner().invoke(plugin, [str(tmp_path / "bluesky")])
    assert done.exit_code == 0, done.output
    path = tmp_path / "bluesky" / "plugins" / "skyclone.py"
    assert path.read_text() == PLUGIN
    assert "PLUGIN LOAD SKYCLONE" in done.stderr
    assert install(tmp_path / "bluesky") == path, "again"
    path.write_text("my_own = 1")
    with pytest.raises(ConfigurationError, match=r"expected no file or a plugin .*, got another file"):
        install(tmp_path / "bluesky")
    assert path.read_text() == "my_own = 1"


def test_where_it_cannot_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cannot be written: No such file or directory. Name another folder"
    ):
        install(tmp_path / "nowhere" / "deep")

    def missing(name: str) -> str:
        raise bluesky_process.PackageNotFoundError(name)

    monkeypatch.setattr(bluesky_process, "version", missing)
    with pytest.raises(ConfigurationError, match=r"pip install 'skyclone\[bluesky\]'"):
        install(tmp_path)
    assert list(tmp_path.iterdir()) == []
