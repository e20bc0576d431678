import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.arithmetic import compiling
from skyclone.collect.flying.world import World
from skyclone.collect.simulators.simulator import Resolution
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.evaluate.evaluation.config import Contender, name_all
from skyclone.evaluate.evaluation.contenders import load, warnings_about, word_on_the_compiler

WORLD = WorldConfig(aircraft=3)


def test_baselines_come_first_and_keep_their_parameters():
    named = name_all(["runs/a", "runs/b"], "none, mvp:margin=1.15:lookahead_s=20,rvo,")
    assert [contender.name for contender in named] == [
        "none", "mvp:margin=1.15:lookahead_s=20", "rvo", "runs/a", "runs/b",
    ]  # fmt: skip
    assert [contender.is_run for contender in named] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("runs", "baselines", "message"),
    [
        (["runs/a", "runs/a"], "none", "'runs/a' is given twice"),
        (["mvp"], "none,mvp", "a folder called like a teacher is ./mvp"),
        ([], " ,", "expected a RUN or a baseline"),
    ],
)
def test_names_that_cannot_be_told_apart(runs, baselines, message):
    with pytest.raises(ConfigurationError, match=message):
        name_all(runs, baselines)


def test_who_cannot_fly(tmp_path):
    with pytest.raises(ConfigurationError, match=r"unknown teacher 'orca'\. There are: mvp, none, rvo"):
        load(Contender("orca", False), WORLD)
    with pytest.raises(ConfigurationError, match="no parameter 'speed'"):
        load(Contender("mvp:speed=2", False), WORLD)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        load(Contender(str(tmp_path / "nowhere"), True), WORLD)
    with pytest.raises(CheckpointError, match="no pretrained weights 'gone'"):
        load(Contender("pretrained:gone", True), WORLD)


def test_where_a_run_comes_from(make_run, tmp_path):
    run = make_run(tmp_path / "a", view="seed", teacher="mvp")
    loaded = load(Contender(str(run), True), WORLD)
    assert (loaded.meta["observation"], loaded.meta["teacher"], loaded.meta["stage"]) == ("seed", "mvp", "clone")
    assert loaded.meta["network"]["name"] == "pairwise"
    assert load(Contender("mvp", False), WORLD).meta == {}


def test_scenarios_it_was_trained_on_are_no_exam(make_run, tmp_path):
    run = make_run(tmp_path / "a", datasets=[{"path": "data/mvp", "seed": 7}], world=WORLD.to_json())
    loaded = load(Contender(str(run), True), WORLD)
    assert warnings_about([loaded], WORLD, 8) == []
    (warning,) = warnings_about([loaded], WORLD, 7)
    assert "trained on scenarios of seed 7" in warning
    assert "Take another --seed" in warning


def test_another_world_is_told(make_run, tmp_path):
    there = WorldConfig(aircraft=40, protected_zone_m=50.0)
    loaded = load(Contender(str(make_run(tmp_path / "a", world=there.to_json())), True), WORLD)
    (warning,) = warnings_about([loaded], WORLD, 0)
    assert warning.endswith("was trained with protected_zone_m 50; here it is 100.")


@pytest.mark.parametrize(
    ("name", "simulator", "message"),
    [
        ("bluesky-mvp", "embedded", r"own MVP flies in BlueSky only. Add --simulator bluesky"),
        ("bluesky-mvp:zone=2", "bluesky", r"no parameter 'zone'\. It has: margin, lookahead_s"),
        (
            "bluesky-mvp:margin=-1",
            "bluesky",
            "expected margin and lookahead_s above 0 and below 10,000, got -1 and 0",
        ),
    ],
)
def test_blueskys_own_mvp_is_refused_where_it_cannot_fly(name: str, simulator: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(Contender(name, False), WorldConfig(simulator=simulator))


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_a_teacher_flies_alike_on_every_processor_and_a_policy_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WorldConfig()
    names = {"mvp": False, "pretrained:clone": True}
    before = [load(Contender(*each), config).identity for each in names.items()]
    assert before[0] == {"teacher": "mvp", "arithmetic": "portable-1"}
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "ABACUS")
    after = [load(Contender(*each), config).identity for each in names.items()]
    assert after[0] == before[0]
    assert after[1] == {**before[1], "arithmetic": after[1]["arithmetic"]}
    assert "ABACUS" in after[1]["arithmetic"]
    assert "ABACUS" not in before[1]["arithmetic"]


def test_without_a_compiler_teachers_fly_otherwise_and_a_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "why_not", lambda: "ModuleNotFoundError: No module named 'numba'")
    mvp = load(Contender("mvp", False), WorldConfig())
    assert mvp.identity["arithmetic"].startswith("torch ")
    (line,) = word_on_the_compiler([mvp, load(Contender("rvo", False), WorldConfig())])
    assert line.startswith("numba compiles nothing here (ModuleNotFoundError: No module named 'numba'): flying in")
    bluesky = load(Contender("none", False), WorldConfig(simulator="bluesky"))
    assert word_on_the_compiler([bluesky]) == []  # it would not be compiled anyway


def test_blueskys_own_mvp_takes_blueskys_margin_and_flies_to_the_waypoint_otherwise() -> None:
    config = WorldConfig(simulator="bluesky", lookahead_s=20.0)
    pilot = load(Contender("bluesky-mvp", False), config).pilot
    assert getattr(pilot, "resolution") == Resolution("MVP", 1.05, 20.0)  # noqa: B009
    world = World(WorldConfig(), 0, [0])
    straight = load(Contender("none", False), config).pilot
    assert torch.equal(pilot(world.traffic, world.pairs), straight(world.traffic, world.pairs))
