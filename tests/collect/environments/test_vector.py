import doctest
import sys
from dataclasses import replace
from unittest import mock

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from skyclone.collect import environments, scenarios
from skyclone.collect.airspace import neighbours
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.environments import SectorEnv, SectorVectorEnv, register_environments
from skyclone.collect.flying.flight import TeacherPilot, advise, fly
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.registry import Layout
from skyclone.collect.teachers.registry import make, parse
from skyclone.datasets.errors import ConfigurationError, ObservationError
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.record import FLYING, TIME_LIMIT, WAYPOINT
from skyclone.datasets.traffic.view import View

SMALL = WorldConfig(aircraft=4)
SHORT = WorldConfig(aircraft=3, scenario="random-n:low=1", max_steps=40)
"""Few aircraft, soon there or out of time: many episodes in few steps."""


@pytest.fixture
def soon_there(monkeypatch):
    """Register a scenario `soon-there`: the waypoints of its 3 aircraft are 1, 2 and 3 s away."""
    monkeypatch.setattr(scenarios.registry, "_SCENARIOS", dict(scenarios.registry._SCENARIOS))
    square = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
    position = np.array([[-500.0, 0], [0, 0], [500, 0]])
    waypoint = position + np.array([[0.0, 27], [0, 36], [0, 45]])
    scenarios.register("soon-there")(lambda generator, config: Layout(square, position, waypoint))
    return WorldConfig(aircraft=3, scenario="soon-there", max_steps=10)


def same(first, second):
    return data_equivalence(first, second, exact=True)


def test_by_lists_of_neighbours_the_same_is_seen_and_flown():
    config, flights = WorldConfig(aircraft=12, max_steps=15, reward="detour"), []
    for few in (3, 1000):
        with mock.patch.object(neighbours, "FEW", few):
            envs = SectorVectorEnv(3, config, "ego:intruders=4", teacher="mvp:margin=1.5")
            observation, infos = envs.reset(seed=1)
            flight = [observation]
            assert (envs.episodes.world.pairs.listed is None) == (few == 1000)
            for _ in range(config.max_steps + 2):  # over the end: who is stopped by the clock is still seen
                observation, reward, *ends, infos = envs.step(infos["teacher_action"])
                flight += [observation, {"reward": reward, "action": infos["teacher_action"]}, *ends]
        flights.append(flight)
    for one, other in zip(*flights, strict=True):
        for name, values in one.items() if isinstance(one, dict) else [(..., one)]:
            expected = other[name]
            assert values.shape == expected.shape
            np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)


# --- the official checkers ---


@pytest.mark.parametrize(
    "options",
    [
        {"config": SMALL},
        {"config": WorldConfig(aircraft=1)},
        {"config": WorldConfig(aircraft=5, scenario="random-n"), "view": "cpa:intruders=2", "teacher": None},
        {"config": WorldConfig(aircraft=3, scenario="circle"), "view": "ego", "teacher": "rvo"},
    ],
)
def test_gymnasiums_checker(options):
    register_environments()
    check_env(gymnasium.make("skyclone/Sector-v0", **options).unwrapped)


def test_pettingzoos_checkers():
    testing = pytest.importorskip("pettingzoo.test")
    config = WorldConfig(aircraft=5, max_steps=60)
    testing.parallel_api_test(environments.SectorParallelEnv(config), num_cycles=200)
    testing.parallel_api_test(environments.SectorParallelEnv(WorldConfig(aircraft=1)), num_cycles=200)
    testing.parallel_seed_test(lambda: environments.SectorParallelEnv(config, view="cpa"), num_cycles=40)


@pytest.mark.filterwarnings("ignore:No agents present but not all")  # PettingZoo: those that hover never are
@pytest.mark.parametrize("scenario", ["arrivals", "hover:share=0.5"])
def test_checkers_where_aircraft_enter_later_or_hover(scenario):
    testing = pytest.importorskip("pettingzoo.test")
    config = WorldConfig(aircraft=6, scenario=scenario, sector_radius_m=300.0, sector_area_m2=150_000.0)
    config = replace(config, max_steps=200)
    register_environments()
    check_env(gymnasium.make("skyclone/Sector-v0", config=config).unwrapped)
    testing.parallel_api_test(environments.SectorParallelEnv(config), num_cycles=300)
    testing.parallel_seed_test(lambda: environments.SectorParallelEnv(config, view="cpa"), num_cycles=40)


def test_agents_enter_where_their_aircraft_do_and_time_goes_on_to_the_first(monkeypatch):
    """The first arrives after 3 s, the second enters at 2 s, the third at 20 s; from 7 s on nobody was there."""
    pytest.importorskip("pettingzoo")
    layout = Layout(
        1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]),
        np.array([[-500.0, 0], [0, 0], [500, 0], [700, 700]]),
        np.array([[-500.0, 45], [0, 63], [500, 45], [700, 700]]),
        entry_s=np.array([0.0, 2, 20, 0]),
        hovers=np.array([False, False, False, True]),
    )
    monkeypatch.setattr(start, "lay_out", lambda config, seed, episode: layout)
    env = environments.SectorParallelEnv(WorldConfig(aircraft=4, max_steps=60), "ego")
    observations, _ = env.reset(seed=0)
    assert env.agents == list(observations) == ["aircraft_0"]
    assert observations["aircraft_0"]["is_present"].sum() == 1  # the one that hovers
    flown = [env.agents]
    while env.agents:
        acting = env.agents
        observations, rewards, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, np.zeros(2)))
        given = [set(each) for each in (observations, rewards, terminated, truncated, infos)]
        assert all(each == set(acting) | set(env.agents) for each in given)
        assert [agent for agent in acting if infos[agent]["outcome"] == WAYPOINT] == [
            agent for agent in acting if terminated[agent]
        ]
        assert all(infos[agent]["outcome"] == rewards[agent] == 0 for agent in set(env.agents) - set(acting))
        flown.append(env.agents)
    assert flown == [["aircraft_0"]] * 2 + [["aircraft_0", "aircraft_1"]] + [["aircraft_1"]] * 4 + [
        ["aircraft_2"]
    ] * 3 + [[]]
    assert env.episodes.world.steps.item() == 23


def test_an_episode_ends_once_where_the_last_entry_falls_away(monkeypatch):
    """Who waits until the time limit for one that hovers never enters."""
    layout = Layout(
        1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]),
        np.array([[0.0, 0], [0, 0], [500, 0]]),
        np.array([[0.0, 0], [0, 900], [500, 45]]),
        entry_s=np.array([0.0, 2, 0]),
        waits=True,
        hovers=np.array([True, False, False]),
    )
    monkeypatch.setattr(start, "lay_out", lambda config, seed, episode: layout)
    env = SectorEnv(WorldConfig(aircraft=3, max_steps=9), "ego")
    observation, _ = env.reset(seed=0)
    assert observation["is_flying"].tolist() == [False, False, True]
    assert observation["is_present"].any(1).tolist() == [False, False, True]
    assert not observation["intruders"][0].any()
    ends = [env.step(np.zeros((3, 2)))[2:4] for _ in range(12)]
    assert ends == [(False, False)] * 7 + [(True, False)] + [(False, False)] * 4


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("teacher", ["mvp", None])
def test_a_batch_is_what_gymnasium_makes_of_single_environments(mode, teacher):
    """There is no official checker for a `VectorEnv`; Gymnasium's own `SyncVectorEnv` is the standard.

    Observations, rewards, ends and infos with their masks, over several episodes of each slot.
    """
    single = [lambda slot=slot: SectorEnv(SHORT, "ego", teacher, slot, every=3) for slot in range(3)]
    standard = SyncVectorEnv(single, autoreset_mode=mode)
    batch = SectorVectorEnv(3, SHORT, "ego", teacher, mode)
    assert batch.observation_space == standard.observation_space
    assert batch.action_space == standard.action_space
    assert batch.metadata["autoreset_mode"] is standard.metadata["autoreset_mode"] is mode
    assert data_equivalence(batch.reset(seed=4), standard.reset(seed=[4, 4, 4]))
    batch.action_space.seed(0)
    ends = 0
    for step in range(130):
        actions = batch.action_space.sample()
        found, expected = batch.step(actions), standard.step(actions)
        for part, wanted in zip(found, expected, strict=True):
            assert data_equivalence(part, wanted), step
        ends += int((found[2] | found[3]).sum())
    assert ends > 5


def test_resets_by_the_caller_are_what_gymnasium_makes_of_them():
    single = [lambda slot=slot: SectorEnv(SHORT, first_episode=slot, every=3) for slot in range(3)]
    standard = SyncVectorEnv(single, autoreset_mode=AutoresetMode.DISABLED)
    batch = SectorVectorEnv(3, SHORT, autoreset_mode="Disabled")
    assert data_equivalence(batch.reset(seed=4), standard.reset(seed=[4, 4, 4]))
    batch.action_space.seed(0)
    resets = 0
    for _ in range(100):
        actions = batch.action_space.sample()
        found, expected = batch.step(actions), standard.step(actions)
        assert all(data_equivalence(part, wanted) for part, wanted in zip(found, expected, strict=True))
        is_over = found[2] | found[3]
        if is_over.any():
            resets += 1
            found = batch.reset(options={"reset_mask": is_over})
            assert data_equivalence(found, standard.reset(options={"reset_mask": is_over}))
    assert resets > 2


def test_gymnasiums_vector_wrappers_work():
    envs = DictInfoToList(RecordEpisodeStatistics(SectorVectorEnv(2, SHORT)))
    envs.reset(seed=0)
    returns, sums = [], np.zeros(2)
    for _ in range(60):
        _, reward, _, _, infos = envs.step(envs.action_space.sample())
        sums += reward
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    assert len(returns) >= 2
    assert all(np.isfinite(returns))


def test_gymnasium_makes_both_kinds():
    register_environments()
    register_environments()  # again: no harm, no warning
    envs = gymnasium.make_vec("skyclone/Sector-v0", num_envs=3, config=SMALL, view="ego:intruders=2")
    assert isinstance(envs, SectorVectorEnv)
    assert envs.single_observation_space["intruders"].shape == (4, 2, 5)
    one = gymnasium.make("skyclone/Sector-v0", config=SMALL)
    assert isinstance(one.unwrapped, SectorEnv)
    one.reset(seed=0)
    one.step(one.action_space.sample())


def test_the_example_in_the_docstring():
    failed, attempted = doctest.testmod(environments)
    assert (failed, attempted > 5) == (0, True)


# --- seeds and episodes ---


def test_seeds_lay_out_the_traffic_and_nothing_global_does():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    envs, others = SectorVectorEnv(2, SMALL), SectorVectorEnv(2, SMALL)
    first, _ = envs.reset(seed=7)
    again, _ = others.reset(seed=7)
    assert same(first, again)
    following, _ = envs.reset()
    assert not same(first, following)
    assert same(following, others.reset()[0])
    assert not same(first, envs.reset(seed=8)[0])
    assert same(first, envs.reset(seed=7)[0])  # a seed starts again at its first episodes
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_seed_every_environment_is_another():
    assert not same(SectorEnv(SMALL).reset()[0], SectorEnv(SMALL).reset()[0])


def test_slots_fly_their_own_episodes_whatever_the_others_do():
    envs = SectorVectorEnv(3, SHORT)
    envs.reset(seed=5)
    assert envs.episodes.world.episodes == [0, 1, 2]
    seen = [[0], [1], [2]]
    for _ in range(120):
        envs.step(envs.action_space.sample())
        for slot, episode in enumerate(envs.episodes.world.episodes):
            if episode != seen[slot][-1]:
                seen[slot].append(episode)
    for slot, episodes in enumerate(seen):
        assert episodes == list(range(slot, slot + 3 * len(episodes), 3))
        assert len(episodes) > 2


def test_the_first_observation_is_the_episodes_state():
    envs = SectorVectorEnv(2, SMALL, view="cpa")
    observation, _ = envs.reset(seed=9)
    seen = observe_all(World(SMALL, 9, [0, 1]).traffic, View("cpa"))
    assert np.array_equal(observation["intruders"], seen.intruders.numpy())
    assert np.array_equal(observation["ownship"], seen.ownship.numpy())
    assert np.array_equal(observation["is_present"], seen.is_present.numpy())
    assert observation["is_flying"].all()


# --- what is handed out ---


def test_flying_the_teachers_actions_is_flying_the_teacher():
    envs = SectorVectorEnv(2, SMALL, teacher="mvp:margin=1.2", autoreset_mode="Disabled")
    observation, infos = envs.reset(seed=1)
    world = World(SMALL, 1, [0, 1])
    for step in fly(world, TeacherPilot(parse("mvp:margin=1.2", SMALL), SMALL)):
        if len(step.slots) < 2:
            break
        expected = step.action.numpy() * observation["is_flying"][..., None]
        np.testing.assert_allclose(infos["teacher_action"], expected, atol=1e-6)
        observation, reward, terminated, truncated, infos = envs.step(infos["teacher_action"])
        np.testing.assert_allclose(infos["aircraft_reward"], step.result.reward, atol=1e-6)
        np.testing.assert_allclose(reward, step.result.reward.sum(-1), atol=1e-5)
        assert np.array_equal(infos["outcome"], step.result.outcome)
        if (terminated | truncated).any():
            break


def test_the_teachers_action_is_for_the_observed_state():
    envs = SectorVectorEnv(8, WorldConfig(aircraft=10))
    _, infos = envs.reset(seed=2)
    teacher = make("mvp", envs.episodes.config)
    for _ in range(15):
        world = envs.episodes.world
        expected = advise(teacher, world.config, world.traffic, world.pairs).action
        flying = world.traffic.is_flying.unsqueeze(-1)
        assert np.array_equal(infos["teacher_action"], (expected * flying).numpy())
        _, _, _, _, infos = envs.step(infos["teacher_action"])


def test_an_episode_ends_when_the_last_aircraft_has_ended(soon_there):
    env = SectorEnv(soon_there)
    env.reset(seed=0)
    steps = [env.step(np.zeros((3, 2), np.float32)) for _ in range(3)]
    assert [step[2] for step in steps] == [False, False, True]
    assert not any(step[3] for step in steps)
    assert [step[4]["outcome"].tolist() for step in steps] == [[WAYPOINT, 0, 0], [0, WAYPOINT, 0], [0, 0, WAYPOINT]]
    assert steps[0][0]["is_flying"].tolist() == [False, True, True]
    assert not steps[0][0]["ownship"][0].any()  # gone: zeros
    assert not steps[0][4]["teacher_action"][0].any()
    assert steps[0][0]["is_present"].sum() == 2  # the two that fly see each other
    # drift 0, progress 9 m each for three aircraft, one waypoint
    assert steps[0][1] == pytest.approx(10 + 3 * (5 * 9 / 1852 - 0.005), abs=1e-4)
    assert steps[0][1] == pytest.approx(steps[0][4]["aircraft_reward"].sum(), abs=1e-5)


def test_the_time_limit_truncates_and_the_last_state_is_still_seen():
    config = WorldConfig(aircraft=4, max_steps=3)
    env = SectorEnv(config)
    env.reset(seed=0)
    for step in range(3):
        observation, _, terminated, truncated, infos = env.step(np.zeros((4, 2), np.float32))
        assert (terminated, truncated) == (False, step == 2)
    assert infos["outcome"].tolist() == [TIME_LIMIT] * 4
    assert observation["is_flying"].all()  # a critic can value where the flight was cut
    assert observation["is_present"].all()
    assert infos["teacher_action"].any()


def test_next_step_ignores_the_action_that_starts_an_episode(soon_there):
    envs = SectorVectorEnv(2, soon_there)
    first, _ = envs.reset(seed=0)
    straight = np.zeros((2, 3, 2), np.float32)
    for _ in range(3):
        _, _, terminated, _, _ = envs.step(straight)
    assert terminated.all()
    observation, reward, terminated, truncated, infos = envs.step(straight + 1)
    assert same(observation, first)  # this scenario is always the same
    assert not reward.any()
    assert not (terminated | truncated).any()
    assert not infos["outcome"].any()
    assert infos["episode_number"].tolist() == [2, 3]
    assert envs.episodes.world.episodes == [2, 3]


def test_same_step_keeps_the_last_observation_in_the_infos(soon_there):
    envs = SectorVectorEnv(2, soon_there, autoreset_mode="SameStep")
    first, _ = envs.reset(seed=0)
    for _ in range(3):
        observation, reward, terminated, _, infos = envs.step(np.zeros((2, 3, 2), np.float32))
    assert terminated.all()
    assert reward.min() > 10
    assert same(observation, first)
    assert not infos["final_obs"][0]["is_flying"].any()
    assert infos["final_info"]["outcome"].tolist() == [[0, 0, WAYPOINT]] * 2
    assert infos["final_info"]["episode_number"].tolist() == [0, 1]
    assert not infos["outcome"].any()
    assert infos["episode_number"].tolist() == [2, 3]
    assert infos["_final_obs"].all()


@pytest.mark.parametrize("view", ["seed", "ego:intruders=2", "cpa"])
@pytest.mark.parametrize("scenario", ["sector", "circle", "crossing"])
def test_observations_lie_in_their_space(view, scenario):
    envs = SectorVectorEnv(4, WorldConfig(aircraft=6, scenario=scenario, max_steps=120), view)
    observation, _ = envs.reset(seed=0)
    envs.action_space.seed(1)
    bias = np.array([0.0, 0.5], np.float32)  # fast: out of the sector
    for _ in range(130):
        assert observation in envs.observation_space
        actions = np.clip(envs.action_space.sample() * 0.3 + bias, -1, 1).astype(np.float32)
        observation, reward, *_ = envs.step(actions)
        assert np.isfinite(reward).all()


def test_what_was_handed_out_is_not_written_to_again():
    envs = SectorVectorEnv(2, SHORT)
    kept = [envs.reset(seed=0)]
    copies = []
    for _ in range(60):
        copies.append({name: values.copy() for name, values in kept[-1][0].items()})
        kept.append(envs.step(envs.action_space.sample()))
    assert all(same(result[0], copy) for result, copy in zip(kept, copies))


def test_one_aircraft_alone():
    envs = SectorVectorEnv(2, WorldConfig(aircraft=1))
    observation, infos = envs.reset(seed=0)
    assert observation["intruders"].shape == (2, 1, 0, 5)
    for _ in range(5):
        observation, reward, _, _, infos = envs.step(infos["teacher_action"])
    assert np.isfinite(reward).all()


# --- one agent per aircraft ---


def test_agents_see_and_get_what_the_batch_says():
    pytest.importorskip("pettingzoo")
    agents, env = environments.SectorParallelEnv(SMALL, view="ego"), SectorEnv(SMALL, view="ego")
    seen, infos = agents.reset(seed=3)
    whole, _ = env.reset(seed=3)
    while agents.agents:
        for agent in agents.agents:
            number = int(agent.removeprefix("aircraft_"))
            assert same(seen[agent], {name: whole[name][number] for name in seen[agent]})
            assert seen[agent] in agents.observation_space(agent)
        actions = {agent: infos[agent]["teacher_action"] for agent in agents.agents}
        before = list(agents.agents)
        seen, rewards, terminated, truncated, infos = agents.step(actions)
        batch = np.zeros((4, 2), np.float32)
        for agent, action in actions.items():
            batch[int(agent[-1])] = action
        whole, reward, over, cut, _ = env.step(batch)
        assert sum(rewards.values()) == pytest.approx(reward, abs=1e-4)
        assert set(rewards) == set(seen) == set(infos) == set(before)
        gone = {agent for agent in before if terminated[agent] or truncated[agent]}
        assert agents.agents == [agent for agent in before if agent not in gone]
        assert all((infos[agent]["outcome"] != FLYING) == (agent in gone) for agent in before)
    assert over or cut
    assert agents.step({}) == ({}, {}, {}, {}, {})


def test_agents_of_a_random_number_of_aircraft():
    pytest.importorskip("pettingzoo")
    env = environments.SectorParallelEnv(WorldConfig(aircraft=6, scenario="random-n:low=1"))
    counts = set()
    for _ in range(20):
        observations, _ = env.reset(seed=0 if not counts else None)
        assert set(observations) == set(env.agents) <= set(env.possible_agents)
        counts.add(env.num_agents)
    assert len(counts) > 3
    assert env.max_num_agents == 6


def test_agents_truncated_by_the_time_limit():
    pytest.importorskip("pettingzoo")
    env = environments.SectorParallelEnv(WorldConfig(aircraft=2, max_steps=1), teacher=None)
    _, infos = env.reset(seed=0)
    assert infos == {agent: {"episode_number": 0, "outcome": FLYING} for agent in env.agents}
    seen, _, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, np.zeros(2)))
    assert (set(terminated.values()), set(truncated.values())) == ({False}, {True})
    assert infos["aircraft_1"] == {"episode_number": 0, "outcome": TIME_LIMIT}
    assert seen["aircraft_0"]["is_present"].all()
    assert env.agents == []


def test_bad_actions_of_agents():
    pytest.importorskip("pettingzoo")
    env = environments.SectorParallelEnv(WorldConfig(aircraft=2))
    env.reset(seed=0)
    with pytest.raises(ConfigurationError, match=r"every agent that flies, got none of aircraft_1"):
        env.step({"aircraft_0": np.zeros(2)})
    with pytest.raises(ConfigurationError, match=r"an action of shape \(2,\) of aircraft_0, got shape \(3,\)"):
        env.step({"aircraft_0": np.zeros(3), "aircraft_1": np.zeros(2)})
    with pytest.raises(ConfigurationError, match="got NaN or infinite ones"):
        env.step({"aircraft_0": np.full(2, np.nan), "aircraft_1": np.zeros(2)})


def test_without_pettingzoo_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "skyclone.collect.environments.parallel", raising=False)
    assert environments.SectorEnv(SMALL)  # all else works
    with pytest.raises(ConfigurationError, match=r"not installed\. Install it: pip install 'skyclone\[pett"):
        _ = environments.SectorParallelEnv
    with pytest.raises(AttributeError, match="has no attribute 'SectorPrallelEnv'"):
        _ = environments.SectorPrallelEnv


# --- wrong use ---


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"teacher": "mpv"}, ConfigurationError, r"unknown teacher 'mpv'\. There are: mvp, none, rvo"),
        ({"view": "sead"}, ObservationError, r"unknown observation 'sead'\. There are: seed, ego, cpa"),
        (
            {"config": WorldConfig(scenario="x")},
            ConfigurationError,
            r"unknown scenario 'x'\. There are: arrivals, circle",
        ),
        ({"config": WorldConfig(reward="x")}, ConfigurationError, r"unknown reward 'x'\. There are: seed"),
        ({"num_envs": 0}, ConfigurationError, r"expected 1 or more environments, got num_envs=0"),
    ],
)
def test_wrong_names_are_reported_when_the_environment_is_made(options, error, message):
    with pytest.raises(error, match=message):
        SectorVectorEnv(**options)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 4)), r"expected finite actions of shape \(2, 4, 2\) .*, got an array of shape \(2, 4\)"),
        (np.zeros((1, 4, 2)), r"got an array of shape \(1, 4, 2\)"),
        (np.full((2, 4, 2), np.nan), r"got NaN or infinite ones"),
    ],
)
def test_wrong_actions(actions, message):
    envs = SectorVectorEnv(2, SMALL)
    envs.reset(seed=0)
    with pytest.raises(ConfigurationError, match=message):
        envs.step(actions)


def test_stepping_before_the_first_reset():
    with pytest.raises(ConfigurationError, match=r"expected reset\(\) before step\(\).*Call reset\(seed=0\)"):
        SectorVectorEnv(1, SMALL).step(np.zeros((1, 4, 2)))


def test_stepping_a_slot_that_is_over_without_autoreset():
    envs = SectorVectorEnv(2, WorldConfig(aircraft=2, max_steps=1), autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step(np.zeros((2, 2, 2)))
    with pytest.raises(ConfigurationError, match=r"expected a reset of slots \[0, 1\], .*, got step\(\)"):
        envs.step(np.zeros((2, 2, 2)))
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ConfigurationError, match=r"expected a reset of slots \[1\]"):
        envs.step(np.zeros((2, 2, 2)))


@pytest.mark.parametrize(("mask", "seed"), [([True, False], None), (np.ones(3, bool), None), (np.ones(2, bool), 4)])
def test_wrong_reset_masks(mask, seed):
    envs = SectorVectorEnv(2, SMALL)
    envs.reset(seed=0)
    with pytest.raises(ConfigurationError, match=r"to be a bool array of shape \(2,\) and no seed beside it"):
        envs.reset(seed=seed, options={"reset_mask": mask})


def test_worlds_by_name_and_views_on_their_scale():
    envs = SectorVectorEnv(num_envs=2, config="enroute:aircraft=3", view="ego:intruders=2")
    view = envs.episodes.view
    assert (view.length_m, view.speed_mps, view.lookahead_s) == (185_200.0, 236.0, 300.0)
    observation, _ = envs.reset(seed=1)
    assert envs.observation_space.contains(observation)
    assert np.abs(observation["ownship"]).max() < 2.1
    assert SectorEnv(config="m600").episodes.view == View()


def test_aircraft_see_what_they_perceive_and_the_teacher_the_state_as_it_is():
    config = WorldConfig(aircraft=6, max_steps=20, surveillance="noise:position_m=5:latency_s=1:reception=0.6")
    envs, world = SectorVectorEnv(2, config, "ego:intruders=4"), World(config, 3, range(2))
    observation, infos = envs.reset(seed=3)
    for _ in range(6):
        seen = observe_all(world.perceive()[0], envs.episodes.view, world.perceive()[1])
        assert np.array_equal(observation["intruders"], seen.intruders.numpy())
        assert np.array_equal(observation["ownship"], seen.ownship.numpy())
        told = advise(make("mvp", config), config, world.traffic, world.pairs).action
        assert np.array_equal(infos["teacher_action"], told.numpy())
        true = observe_all(world.traffic, envs.episodes.view, world.pairs)
        assert not np.array_equal(observation["intruders"], true.intruders.numpy())
        observation, *_, infos = envs.step(infos["teacher_action"])
        world.step(told)
