import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skyclone.cli import main
from skyclone.collect.cli import collect
from skyclone.datasets import open_dataset
from skyclone.datasets.errors import SkycloneError
from skyclone.evaluate.cli import evaluate
from skyclone.evaluate.evaluation.table import WIDTH

SHORT = "m600:max_steps=60"
SMALL = ("--scenarios", 3, "--aircraft", 4, "--bootstrap", 100, "--world", SHORT)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_from_runs_to_a_report(make_run, tmp_path):
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("clone", "tuned"))]
    result = _run(*runs, *SMALL, "--out", tmp_path / "out" / "deep")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()[1:5]] == ["none", "mvp", "clone", "tuned"]
    for part in ("Took", "mvp", "report", "aircraft-steps/s", "report.html"):
        assert part in result.stderr
    out = tmp_path / "out" / "deep"
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation.json",
        "flown",
        "recording.json",
        "report.html",
    ]
    data = json.loads((out / "evaluation.json").read_text())
    assert list(data["contenders"]) == ["none", "mvp", *map(str, runs)]
    assert set(data["attention"]) == set(map(str, runs))
    assert data["verdict"]["headline"] in (out / "report.html").read_text()
    again = _run("--baselines", "none,mvp", *SMALL, "--out", out)
    assert again.exit_code == 0
    contenders = json.loads((out / "evaluation.json").read_text())["contenders"]
    assert contenders == {name: data["contenders"][name] for name in ("none", "mvp")}


def test_json_alone_on_stdout():
    result = _run("--baselines", "none,mvp:margin=1.15:lookahead_s=20", *SMALL, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert list(data["contenders"]) == ["none", "mvp:margin=1.15:lookahead_s=20"]
    assert data["version"] == 1
    assert "Took" in result.stderr


@pytest.mark.usefixtures("without_plots")
def test_several_surveillances(tmp_path):
    arguments = ["--baselines", "none,mvp", "--world", SHORT, "--scenarios", 3, "--bootstrap", 100]
    arguments += ["--aircraft", 8, "--json"]
    noisy = "noise:position_m=20:velocity_mps=2"
    found = _run(*arguments, "--surveillance", f"perfect,{noisy},remote-id", "--out", tmp_path)
    assert found.exit_code == 0, found.stderr
    data = json.loads(found.stdout)
    assert list(data["by_surveillance"]) == ["perfect", noisy, "remote-id"]
    assert data["by_surveillance"]["perfect"] == data["contenders"]
    assert "surveillance" not in data["world"]
    assert data["contenders"] == json.loads(_run(*arguments).stdout)["contenders"]
    alone = json.loads(_run(*arguments, "--surveillance", noisy).stdout)
    assert data["by_surveillance"][noisy] == alone["contenders"]
    assert alone["world"]["surveillance"] == noisy
    assert alone["by_surveillance"] == {}
    values = [each["mvp"]["extra_distance"]["value"] for each in data["by_surveillance"].values()]
    change = data["from_surveillance"][noisy]["mvp"]["extra_distance"]
    assert change["value"] == pytest.approx(values[1] - values[0])
    assert change["low"] > 0.0  # in every scenario
    assert "LoS by what aircraft know of each other" in (tmp_path / "report.html").read_text()
    table = _run(*arguments[:-1], "--surveillance", f"perfect,{noisy}").stdout
    assert "By surveillance" in table
    assert max(map(len, table.splitlines())) <= WIDTH


def test_what_bluesky_resolves_is_not_perceived():
    found = _run("--baselines", "bluesky-mvp", *SMALL, "--surveillance", "remote-id")
    assert found.exit_code == 1
    assert "expected --surveillance perfect with the baseline 'bluesky-mvp'" in str(found.exception)


@pytest.mark.usefixtures("without_plots")
def test_rare_events(tmp_path):
    world = "m600:nmac_m=80:max_steps=100"
    arguments = ("--baselines", "none,mvp", "--world", world, "--scenarios", 20, "--aircraft", 3)
    result = _run(*arguments, "--bootstrap", 100, "--rare", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "By splitting: 10 replications of 20 trajectories" in result.stdout
    rare = json.loads((tmp_path / "evaluation.json").read_text())["rare"]
    assert list(rare) == ["none", "mvp"]
    assert rare["mvp"]["los_per_h"]["value"] < rare["none"]["los_per_h"]["value"]
    assert "near mid-air collision" in (tmp_path / "report.html").read_text()
    assert "Rare events" in (tmp_path / "report.html").read_text()
    refused = _run(*arguments[:4], "--scenarios", 5, "--rare")
    assert "expected 20 trajectories or more" in str(refused.exception)


@pytest.mark.usefixtures("without_plots")
def test_a_mix(tmp_path):
    many = ("--scenarios", 4, "--aircraft", 10, "--bootstrap", 100)
    arguments = ("--baselines", "none,mvp", "--world", SHORT, *many)
    mix = ("--mix", "0.8=self,0.2=silent")
    result = _run(*arguments, *mix, "--surveillance", "perfect,remote-id", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "mvp   self-silent" in result.stdout
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert data["mix"] == "0.8=self,0.2=silent"
    assert list(data["by_equipage"]["mvp"]) == ["self", "self-self", "self-silent"]
    assert data["by_surveillance"]["perfect"] == data["contenders"]
    html = (tmp_path / "report.html").read_text()
    assert "By equipage" in html
    assert "0.8=self,0.2=silent" in html
    again = _run(*arguments, *mix, "--surveillance", "perfect,remote-id", "--out", tmp_path)
    assert again.stderr.count("8 of 8 scenarios had been flown before") == 2
    assert json.loads((tmp_path / "evaluation.json").read_text())["by_equipage"] == data["by_equipage"]
    refused = _run(*arguments, *mix, "--rare")
    assert "expected contenders that fly all aircraft, got --mix 0.8=self,0.2=silent" in str(refused.exception)
    refused = _run(*arguments, "--mix", "0.8=self")
    assert "expected a share of self, who is evaluated, and one of somebody else" in str(refused.exception)


@pytest.mark.usefixtures("without_plots")
def test_several_densities(tmp_path):
    arguments = ["--baselines", "none,mvp", "--scenarios", 3, "--bootstrap", 100, "--world", SHORT, "--json"]
    found = _run(*arguments, "--aircraft", "5,3,5", "--out", tmp_path)
    assert found.exit_code == 0, found.stderr
    data = json.loads(found.stdout)
    assert list(data["by_aircraft"]) == ["3", "5"]
    assert data["world"]["aircraft"] == 5
    assert data["by_aircraft"]["5"] == data["contenders"]
    alone = json.loads(_run(*arguments, "--aircraft", 3).stdout)
    assert data["by_aircraft"]["3"] == alone["contenders"]
    assert alone["by_aircraft"] == {}
    html = (tmp_path / "report.html").read_text()
    assert "LoS against density" in html
    assert "Extra distance against density" in html


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baselines", " "], "expected a RUN or a baseline"),
        (["--aircraft", "20,many"], "expected numbers of aircraft such as 20 or 20,40,60, got '20,many'"),
        (["--aircraft", "20,0"], "0 is not in the range x>=1"),
        (["--scenarios", 0], "0 is not in the range x>=1"),
        (["--aircraft", 0], "0 is not in the range x>=1"),
        (["--simulator", "xplane"], "'xplane' is not one of"),
    ],
)
def test_wrong_use(arguments, message):
    result = _run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baselines", "orca"], "unknown teacher 'orca'. There are: mvp, none, rvo"),
        (["--baselines", "mvp:margin=wide"], "expected a number for margin, got 'wide'"),
        (["runs/nowhere"], "Train one with `skyclone train"),
        (["--scenario", "maze"], "unknown scenario 'maze'"),
        (["--aircraft", 50000], "expected aircraft from 1 to 32,000, got 50000"),
        (["--device", "abacus"], "no device 'abacus'"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(arguments, message, tmp_path):
    result = _run(*arguments, *([] if "--aircraft" in arguments else SMALL))
    assert isinstance(result.exception, SkycloneError)
    assert message in str(result.exception)


def test_a_folder_that_cannot_be_written_into(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    result = _run("--baselines", "none", *SMALL, "--out", tmp_path / "file" / "out")
    assert "expected a folder that can be written into" in str(result.exception)
    assert (tmp_path / "file").read_text() == "mine"


def test_ctrl_c_is_one_line_and_leaves_nothing_half_written(monkeypatch, capsys, tmp_path):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skyclone.evaluate.evaluation.batches.fly_scenarios", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--baselines", "none", "--scenarios", "2", "--out", str(tmp_path / "out")])
    assert stop.value.code == 1
    assert f"Interrupted: what was flown is kept in {tmp_path / 'out'}; the same" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(SystemExit):
        main(["evaluate", "--baselines", "none", "--scenarios", "2"])
    assert "Interrupted: nothing has been written." in capsys.readouterr().err


def test_what_was_flown_is_not_flown_again(tmp_path):
    arguments = ["--baselines", "none", *SMALL, "--out", tmp_path / "out"]
    assert "had been flown before" not in _run(*arguments).stderr
    first = (tmp_path / "out" / "evaluation.json").read_text()
    again = _run(*arguments)
    assert f"3 of 3 scenarios had been flown before: {tmp_path / 'out' / 'flown'}" in again.stderr
    assert "aircraft-steps/s" not in again.stderr
    assert (tmp_path / "out" / "evaluation.json").read_text() == first


def test_scenarios_seen_in_training_are_warned_about(make_run, tmp_path):
    run = make_run(tmp_path / "run", datasets=[{"path": "data", "seed": 5}])
    result = _run(run, *SMALL, "--seed", 5, "--json")
    assert "Warning: " in result.stderr
    assert "seed 5" in json.loads(result.stdout)["warnings"][0]


def test_an_own_scenario_is_evaluated_once(tmp_path):
    own = tmp_path / "own.scn"
    lines = [
        f"00:00:00.00>CRE D{number},M600,{52 + 0.004 * number},4.37,{180 * number},100,17.5\n"
        f"00:00:00.00>DEST D{number} {52.004 - 0.004 * number} 4.37\n"
        for number in range(2)
    ]
    own.write_text("".join(lines))
    result = _run("--scenario", f"file:{own}", "--json", "--bootstrap", 100)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert (data["scenarios"], data["world"]["aircraft"], data["simulator"]) == (1, 2, "embedded")
    assert data["contenders"]["none"]["los_events"]["value"] == 1.0
    assert data["contenders"]["mvp"]["los_events"]["value"] == 0.0
    with pytest.raises(SkycloneError, match=r"expected at most the 1 scenario\(s\) that .* got --scenarios 2"):
        CliRunner().invoke(evaluate, ["--scenario", f"file:{own}", "--scenarios", "2"], catch_exceptions=False)


def test_an_engine_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for arguments, message in (
        (["--engine", "ray"], r"--engine ray needs Ray, which is not installed: pip install"),
        (["--engine", "spark"], r"'spark' is not one of 'local', 'ray'"),
    ):
        found = _run(*SMALL, *arguments)
        assert found.exit_code != 0
        assert re.search(message, found.stderr + str(found.exception))


_CLUSTER = """
import os, subprocess, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from skyclone.cli import main

run, folder = sys.argv[1], Path(sys.argv[2])
by_ray = [*sys.argv[3:], "--engine", "ray"]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
dying = cluster.add_node(num_cpus=1)
os.environ["ATEN_CPU_CAPABILITY"] = "default"
other = cluster.add_node(num_cpus=1)
del os.environ["ATEN_CPU_CAPABILITY"]
cluster.wait_for_nodes()
os.environ["RAY_ADDRESS"] = cluster.address

def kill_a_node():
    while len(list((folder / "teachers").glob("flown/*"))) < 5:
        time.sleep(0.01)
    cluster.remove_node(dying, allow_graceful=False)

def call(arguments):
    try:
        main(arguments)
    except SystemExit as end:
        print("ended with", end.code, file=sys.stderr)

try:
    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    call(["evaluate", "--baselines", "none,mvp", *by_ray, "--out", str(folder / "teachers")])
    killer.join(60)
    collecting = ["collect", "--out", str(folder / "data"), *os.environ["COLLECT"].split(), "--engine", "ray"]
    call([*collecting, "--shards", "3:5"])
    (folder / "data" / "shards" / "00004.parquet").write_bytes(b"damaged")
    call(collecting)
    cluster.remove_node(other)  # the only node left flies by this process's arithmetic, whoever gets which task
    policy = ["evaluate", run, "--baselines", "", *by_ray, "--scenarios", "6", "--json"]
    begun_elsewhere = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-m", "skyclone", *policy], env=begun_elsewhere)
    call(policy)
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(450)
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'skyclone[ray]'")
def test_a_cluster_of_unlike_nodes_flies_teachers_alike_and_mixes_no_policy(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    size = ["--scenarios", "60", "--batch", "2", "--aircraft", "4", "--bootstrap", "100"]
    collected = ["--episodes", "12", "--episodes-per-shard", "1", "--aircraft", "4"]
    done = subprocess.run(
        [sys.executable, "-c", _CLUSTER, str(run), str(tmp_path), *size],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "COLLECT": " ".join(collected)},
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Ray cluster: 3 node(s), 3 processors." in done.stderr
    assert "Shard 00004.parquet is cut" in done.stderr
    assert re.search(r"run flies by 'torch .*' on .*, and by 'torch \S+ DEFAULT .* must not be mixed", done.stderr)

    def figures(text):
        data = json.loads(text)
        return data["contenders"], data["differences"], data["nearest_m"]

    teachers = _run("--baselines", "none,mvp", *size, "--json")
    assert figures((tmp_path / "teachers" / "evaluation.json").read_text()) == figures(teachers.stdout)
    told = done.stdout.splitlines()[-1]  # after the table of the teachers
    assert figures(told) == figures(_run(run, "--baselines", "", *size, "--scenarios", "6", "--json").stdout)
    assert CliRunner().invoke(collect, ["--out", str(tmp_path / "local"), *collected]).exit_code == 0
    both = [open_dataset(tmp_path / name) for name in ("data", "local")]
    assert both[0].content_hash == both[1].content_hash
    assert both[0].verify() == []


@pytest.mark.usefixtures("without_plots")
def test_airliners_by_the_same_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text('base = "enroute"\nmax_steps = 40\naircraft = 6\n')
    main(["collect", "--world", "my.toml", "--out", "data", "--episodes", "24", "--workers", "1"])
    small = ["--model", "pairwise:width=8:hidden=8", "--observation", "ego:intruders=4", "--epochs", "1"]
    main(["train", "--data", "data", "--out", "run", *small, "--processes", "1", "--threads", "1"])
    view = json.loads((tmp_path / "run" / "best.json").read_text())["observation"]
    assert (view["length_m"], view["speed_mps"], view["protected_zone_m"], view["lookahead_s"]) == (
        185_200.0, 236.0, 9260.0, 300.0,
    )  # fmt: skip
    main(["train", "--data", "data", "--out", "run", *small, "--resume"])  # the same, said shorter
    said = _run(
        "run", "--world", "my.toml", "--scenarios", 3, "--bootstrap", 100, "--aircraft", "6,3", "--out", "out"
    )
    assert said.exit_code == 0, said.exception
    assert "was trained with" not in said.stderr
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (data["world"]["protected_zone_m"], data["world"]["max_steps"]) == (9260.0, 40)
    assert list(data["by_aircraft"]) == ["3", "6"]
    there = _run("run", *SMALL, "--world", "enroute:lookahead_s=240:turn_rad=0.2")
    assert (
        "Warning: run was trained with lookahead_s 300 and turn_rad 0.15; here they are 240 and 0.2."
        in there.stderr
    )
