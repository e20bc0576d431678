"""The plugin inside BlueSky itself: a .scn scenario, with and without RESO SKYCLONE."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from skyclone.collect.simulators import bluesky_process
from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.deployment.cli import PLUGIN, install, plugin

pytestmark = pytest.mark.skipif(find_spec("bluesky") is None, reason="needs skyclone[bluesky]")
EARTH_M = 6_371_000.0
PROGRAM = Path(__file__).with_name("fly_in_bluesky.py")
HEAD = """00:00:00.00>CDMETHOD STATEBASED
00:00:00.00>ZONER 0.054
00:00:00.00>DTLOOK 15
00:00:00.00>PLUGIN LOAD SKYCLONE
"""


def drone(name: str, east: float, north: float, goal_east: float, goal_north: float) -> str:
    """An M600 at 9 m/s with a destination, as two lines of a scenario around 52 N."""

    def place(east: float, north: float) -> str:
        along = math.degrees(east / EARTH_M / math.cos(math.radians(52)))
        return f"{52 + math.degrees(north / EARTH_M):.8f},{4.37 + along:.8f}"

    track = math.degrees(math.atan2(goal_east - east, goal_north - north)) % 360
    return (
        f"00:00:00.00>CRE {name},M600,{place(east, north)},{track:.4f},100,17.5\n"
        f"00:00:00.00>DEST {name} {place(goal_east, goal_north)}\n"
    )


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
    flown = fly(tmp_path, scenario, 20, "RESO OFF", unnamed, f"SKYCLONE {tmp_path}/nowhere", named)
    plain, without, wrong, with_run = flown.values()

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
def test_fewer_losses_of_separation_with_it_than_without(tmp_path: Path) -> None:
    """Eight drones through one point."""
    scenario = ""
    for number in range(8):
        east, north = (700 * f(2 * math.pi * number / 8) for f in (math.sin, math.cos))
        scenario += drone(f"D{number}", east, north, -east, -north)
    flown = fly(tmp_path, scenario, 150, "RESO OFF", "SKYCLONE pretrained:clone;RESO SKYCLONE")
    without, with_run = (each["los"] for each in flown.values())
    print(f"LoS events of eight drones: {without} without, {with_run} with RESO SKYCLONE")
    assert without == 28, "each pair once: they all meet in the middle"
    assert with_run <= 0.25 * without


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
