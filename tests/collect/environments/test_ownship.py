from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.airspace.worlds import parse
from skyclone.collect.environments import SectorEnv, register_environments
from skyclone.collect.environments.ownship import OwnshipEnv, environment_spec, flat_space
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.registry import Layout
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import Observation, flatten
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


def test_an_observation_is_ownship_intruders_and_mask_in_a_row():
    parts = Observation(
        torch.arange(7.0)[None], torch.arange(10.0, 20.0).reshape(1, 2, 5), torch.tensor([[True, False]])
    )
    assert flatten(parts)[0].tolist() == [*range(7), *range(10, 20), 1, 0]
    assert flat_space(WorldConfig(aircraft=3), View("seed")).shape == (7 + 2 * 5 + 2,)
    assert flat_space(WorldConfig(aircraft=1), View("seed")).shape == (7,)


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
    assert own_infos["outcome"] == "time_limit"
    assert np.abs(observation[:7]).sum() > 0  # the last state is observed, whatever ended the flight


def test_a_flight_is_found_again_by_seed_episode_and_aircraft():
    register_environments()
    env = OwnshipEnv(SHORT)
    observation, infos = env.reset(seed=7, options={"episode": 5, "aircraft": 0})
    assert (infos["episode"], infos["aircraft"]) == (5, 0)
    _, infos = env.reset()
    assert infos["episode"] == 6
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
        env.reset(seed=4)
        entered.append(entries[env._ownship])
        assert env._world.steps.tolist() == [min(entry for entry in entries if entry >= 0)]
    assert set(entered) == {min(entry for entry in entries if entry >= 0)}
    _, infos = env.reset(seed=4, options={"aircraft": later})
    assert infos["aircraft"] == later
    assert env._world.steps.item() >= entries[later]
    assert env._world.traffic.is_flying[0, later]


def test_who_hovers_is_no_ownship():
    env = OwnshipEnv(WorldConfig(aircraft=4, scenario="hover:share=0.5"), "ego")
    for seed in range(10):
        env.reset(seed=seed)
        assert env._ownship in (0, 1)
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
    with pytest.raises(ConfigurationError, match=r"unknown world .*\. There are: m600, enroute, u-space\.$"):
        OwnshipEnv(str(path))  # a specification opens no files
