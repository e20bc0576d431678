from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.airspace.worlds import parse
from skyclone.collect.environments import OUTCOMES, OwnshipVectorEnv, SectorEnv, register_environments
from skyclone.collect.environments.ownship import OwnshipEnv, environment_spec
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.registry import Layout
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.view import View

SHORT = WorldConfig(aircraft=3, scenario="random-n:low=1", max_steps=40)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"config": WorldConfig(aircraft=1)},
        {"config": SHORT, "view": "cpa:intruders=2", "teacher": "rvo"},
        {"config": WorldConfig(aircraft=6, scenario="hover:share=0.5")},
        {"config": WorldConfig(aircraft=6, scenario="arrivals")},
    ],
)
def test_gymnasiums_checker(options):
    register_environments()
    check_env(gymnasium.make("skyclone/Ownship-v0", **options).unwrapped)


def test_with_the_teachers_actions_it_flies_as_the_whole_sector_does():
    whole, one = SectorEnv(SHORT, "ego"), OwnshipEnv(SHORT, "ego")
    seen, infos = whole.reset(seed=3)
    observation, own_infos = one.reset(seed=3, options={"aircraft": 0})
    for _ in range(SHORT.max_steps):
        expected = [np.ravel(seen[name][0]) for name in ("ownship", "intruders", "is_present")]
        np.testing.assert_allclose(observation, np.concatenate(expected), atol=1e-5)
        np.testing.assert_allclose(own_infos["teacher_action"], infos["teacher_action"][0], atol=1e-5)
        seen, _, _, _, infos = whole.step(infos["teacher_action"])
        observation, reward, terminated, truncated, own_infos = one.step(own_infos["teacher_action"])
        assert reward == pytest.approx(infos["aircraft_reward"][0], abs=1e-5)
        if terminated or truncated:
            break
    assert (terminated, truncated) == (False, True)
    assert OUTCOMES[own_infos["outcome"]] == "time_limit"
    assert np.abs(observation[:7]).sum() > 0  # the last state is observed, whatever ended the flight


def test_a_flight_is_found_again_by_seed_episode_and_aircraft():
    register_environments()
    env = OwnshipEnv(SHORT)
    observation, infos = env.reset(seed=7, options={"episode": 5, "aircraft": 0})
    assert (infos["episode_number"], infos["aircraft"], infos["outcome"]) == (5, 0, 0)
    _, infos = env.reset()
    assert infos["episode_number"] == 6
    again, _ = env.reset(seed=7, options={"episode": 5, "aircraft": 0})
    np.testing.assert_array_equal(observation, again)


def test_its_specification_survives_json():
    spec = environment_spec(SHORT, View.parse("ego:intruders=2"), "mvp:margin=1.2")
    env = gymnasium.make(EnvSpec.from_json(spec.to_json())).unwrapped
    assert isinstance(env, OwnshipEnv)
    assert env.config == SHORT
    assert str(env.view) == "ego:intruders=2"


def test_wrong_use_says_what_to_do():
    env = OwnshipEnv(SHORT)
    with pytest.raises(ConfigurationError, match=r"expected reset\(\) before step"):
        env.step(np.zeros(2))
    with pytest.raises(ConfigurationError, match="expected an aircraft from 0 to"):
        env.reset(seed=0, options={"aircraft": 99})
    with pytest.raises(ConfigurationError, match="expected episode to be a whole number from 0 on, got -1"):
        env.reset(seed=0, options={"episode": -1})
    env.reset(seed=0)
    for action in (np.zeros(3), np.array([np.nan, 0.0])):
        with pytest.raises(ConfigurationError, match="expected a finite action of shape"):
            env.step(action)


def test_its_ownship_flies_at_the_start_or_is_waited_for():
    config = WorldConfig(aircraft=8, scenario="arrivals", max_steps=400)
    env, entered = OwnshipEnv(config, "ego"), []
    world = World(config, 4, [0])
    entries = world.itinerary.entry_steps[0].tolist()
    later = max(range(8), key=lambda number: entries[number])
    assert entries[later] > 0
    for _ in range(5):
        _, infos = env.reset(seed=4)
        entered.append(entries[infos["aircraft"]])
        assert env._flight.world.steps.tolist() == [min(entry for entry in entries if entry >= 0)]
    assert set(entered) == {min(entry for entry in entries if entry >= 0)}
    _, infos = env.reset(seed=4, options={"aircraft": later})
    assert infos["aircraft"] == later
    assert env._flight.world.steps.item() >= entries[later]
    assert env._flight.world.traffic.is_flying[0, later]


def test_who_hovers_is_no_ownship():
    env = OwnshipEnv(WorldConfig(aircraft=4, scenario="hover:share=0.5"), "ego")
    for seed in range(10):
        _, infos = env.reset(seed=seed)
        assert infos["aircraft"] in (0, 1)
    with pytest.raises(ConfigurationError, match=r"expected an aircraft from 0 to 1 .* that does not hover, got 2"):
        env.reset(seed=0, options={"aircraft": 2})


def test_who_never_enters_is_refused(monkeypatch):
    """The other hovers where it would enter."""
    square = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
    layout = Layout(
        square,
        np.array([[0.0, 0], [0, 0], [500, 0]]),
        np.array([[0, 0], [0, 900.0], [500, 18]]),
        entry_s=np.array([0.0, 5.0, 0.0]),
        waits=True,
        hovers=np.array([True, False, False]),
    )
    monkeypatch.setattr(start, "lay_out", lambda config, seed, episode: layout)
    env = OwnshipEnv(WorldConfig(aircraft=3, max_steps=20), "ego")
    with pytest.raises(ConfigurationError, match="expected an aircraft that enters in episode 0, got 1"):
        env.reset(seed=0, options={"aircraft": 1})


def test_worlds_by_name_and_views_on_their_scale(tmp_path: Path) -> None:
    env = OwnshipEnv("enroute:aircraft=3", "ego:intruders=2")
    assert env.config == parse("enroute:aircraft=3")
    assert env.view.length_m == env.config.sector_radius_m
    again = gymnasium.make(EnvSpec.from_json(environment_spec(env.config, env.view, "mvp").to_json())).unwrapped
    assert isinstance(again, OwnshipEnv)
    assert again.view == env.view
    old = OwnshipEnv(env.config.to_json(), "ego:intruders=2")  # as exported before views took a world's numbers
    assert old.view == View("ego", 2)
    path = tmp_path / "my.toml"
    path.write_text("aircraft = 3")
    with pytest.raises(ConfigurationError, match=r"unknown world .*parse\('my\.toml'\) reads one\.$"):
        OwnshipEnv(str(path))  # a specification opens no files


# --- a batch of flights ---


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("scenario", ["random-n:low=1", "arrivals"])
def test_each_slot_flies_what_the_single_environment_flies(mode, scenario):
    """Its observations, rewards, ends and infos, over several episodes."""
    config = WorldConfig(aircraft=3, scenario=scenario, max_steps=12)
    envs = OwnshipVectorEnv(2, config, "ego:intruders=2", "mvp:margin=1.3", mode)
    singles = [OwnshipEnv(config, "ego:intruders=2", "mvp:margin=1.3") for _ in range(2)]
    seen, infos = envs.reset(seed=5)
    envs.action_space.seed(0)

    def begin(slot):
        named = {"episode": int(infos["episode_number"][slot]), "aircraft": int(infos["aircraft"][slot])}
        return singles[slot].reset(seed=5, options=named)

    def check(slot, expected, own_infos, found, found_infos):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert set(own_infos) <= set(found_infos)
        for name, value in own_infos.items():
            np.testing.assert_allclose(found_infos[name][slot], value, atol=1e-6)

    for slot in range(2):
        check(slot, *begin(slot), seen[slot], infos)
    ended, ends = np.zeros(2, bool), 0
    for _ in range(40):
        actions = envs.action_space.sample()
        if mode is AutoresetMode.DISABLED and ended.any():
            seen, infos = envs.reset(options={"reset_mask": ended})
            for slot in np.flatnonzero(ended):
                check(slot, *begin(slot), seen[slot], infos)
        seen, rewards, terminated, truncated, infos = envs.step(actions)
        for slot in range(2):
            if mode is AutoresetMode.NEXT_STEP and ended[slot]:
                assert (rewards[slot], terminated[slot], truncated[slot]) == (0, False, False)
                check(slot, *begin(slot), seen[slot], infos)
                continue
            expected, reward, *over, own_infos = singles[slot].step(actions[slot])
            assert rewards[slot] == pytest.approx(reward, abs=1e-6)
            assert [terminated[slot], truncated[slot]] == over
            if mode is AutoresetMode.SAME_STEP and any(over):
                check(slot, expected, own_infos, infos["final_obs"][slot], infos["final_info"])
                check(slot, *begin(slot), seen[slot], infos)
            else:
                check(slot, expected, own_infos, seen[slot], infos)
        ended = terminated | truncated
        ends += int(ended.sum())
    assert ends >= 5


def test_the_ownship_is_drawn_from_seed_and_episode_alone():
    envs, others = (OwnshipVectorEnv(count, WorldConfig(aircraft=20)) for count in (4, 2))
    drawn = envs.reset(seed=1)[1]["aircraft"].tolist()
    assert others.reset(seed=1)[1]["aircraft"].tolist() == drawn[:2]
    assert others.reset()[1]["aircraft"].tolist() == drawn[2:]
    assert len(set(drawn)) > 1


def test_by_id_with_gymnasiums_modes_and_its_statistics():
    register_environments()
    envs = gymnasium.make_vec(
        "skyclone/Ownship-v0", num_envs=3, config=SHORT, view="ego:intruders=2", autoreset_mode="SAME_STEP"
    )
    assert isinstance(envs, OwnshipVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    counted = gymnasium.wrappers.vector.RecordEpisodeStatistics(envs)
    seen, _ = counted.reset(seed=0)
    assert seen in counted.observation_space
    lengths = []
    for _ in range(SHORT.max_steps):
        *_, infos = counted.step(np.zeros((3, 2), np.float32))
        lengths += infos["episode"]["l"][infos["_episode"]].tolist() if "episode" in infos else []
    assert lengths
    assert max(lengths) <= SHORT.max_steps
    default = gymnasium.make_vec("skyclone/Ownship-v0", num_envs=2)
    assert default.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    with pytest.raises(
        ConfigurationError, match=r"unknown autoreset_mode 'never'\. There are: NEXT_STEP, SAME_STEP"
    ):
        gymnasium.make_vec("skyclone/Ownship-v0", num_envs=2, autoreset_mode="never")


def test_gymnasiums_statistics_of_one_flight():
    register_environments()
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("skyclone/Ownship-v0", config=SHORT))
    env.reset(seed=0)
    total, ended = 0.0, False
    while not ended:
        _, reward, terminated, truncated, infos = env.step(np.zeros(2, np.float32))
        total, ended = total + reward, terminated or truncated
    assert infos["episode"]["r"] == pytest.approx(total)
    assert OUTCOMES[infos["outcome"]] != "flying"


def test_a_slot_waits_for_its_ownship_and_is_cut_off_where_it_never_enters(monkeypatch):
    """Only one flies, and it enters after 5 s; or waits for one that hovers there until the end."""
    square = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
    for hover_m, steps in ((500.0, 5), (0.0, None)):
        layout = Layout(
            square,
            np.array([[hover_m, 0.0], [0, 0]]),
            np.array([[hover_m, 0.0], [0, 900]]),
            entry_s=np.array([0.0, 5.0]),
            waits=True,
            hovers=np.array([True, False]),
        )
        monkeypatch.setattr(start, "lay_out", lambda config, seed, episode, layout=layout: layout)
        envs = OwnshipVectorEnv(1, WorldConfig(aircraft=2, max_steps=10), "ego")
        seen, infos = envs.reset(seed=0)
        assert infos["aircraft"].tolist() == [1]
        waited = 0
        while not seen.any():
            seen, reward, terminated, truncated, _ = envs.step(np.ones((1, 2), np.float32))
            waited += 1
            assert (reward.tolist(), terminated.tolist()) == ([0], [False])
            if truncated[0]:
                break
        assert (bool(truncated[0]), waited) == ((False, steps) if steps else (True, 9))


def test_wrong_use_of_a_batch_says_what_to_do():
    with pytest.raises(ConfigurationError, match="expected 1 or more environments, got num_envs=0"):
        OwnshipVectorEnv(0)
    envs = OwnshipVectorEnv(2, SHORT)
    with pytest.raises(ConfigurationError, match=r"expected reset\(\) before step"):
        envs.step(np.zeros((2, 2)))
    envs.reset(seed=0)
    for actions in (np.zeros((2, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(ConfigurationError, match=r"expected finite actions of shape \(2, 2\)"):
            envs.step(actions)
