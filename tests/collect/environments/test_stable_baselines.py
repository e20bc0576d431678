import sys

import gymnasium
import numpy as np
import pytest

from skyclone.collect import environments, scenarios
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.environments import OwnshipVectorEnv, SectorVectorEnv
from skyclone.collect.environments.flat import flatten_arrays
from skyclone.collect.scenarios.registry import Layout
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.record import TIME_LIMIT, WAYPOINT


def adapted(envs):
    """Return the adapter around environments; `make test-slow` has Stable-Baselines3."""
    pytest.importorskip("stable_baselines3", reason="needs stable-baselines3: pip install stable-baselines3")
    return environments.StableBaselinesVecEnv(envs)


@pytest.fixture
def soon_there(monkeypatch):
    """Register a scenario: the waypoints of its 3 aircraft are 1, 2 and 30 s away, the time limit is 3 s."""
    monkeypatch.setattr(scenarios.registry, "_SCENARIOS", dict(scenarios.registry._SCENARIOS))
    square = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
    position = np.array([[-500.0, 0], [0, 0], [500, 0]])
    waypoint = position + np.array([[0.0, 27], [0, 36], [0, 288]])
    scenarios.register("soon-there")(lambda generator, config: Layout(square, position, waypoint))
    return WorldConfig(aircraft=3, scenario="soon-there", max_steps=3)


@pytest.mark.slow
def test_every_aircraft_is_a_row_which_waits_done_when_it_has_landed(soon_there):
    envs = adapted(SectorVectorEnv(2, soon_there, "ego", teacher=None, autoreset_mode="SAME_STEP"))
    single = SectorVectorEnv(2, soon_there, "ego", teacher=None, autoreset_mode="DISABLED")
    expected, _ = single.reset(seed=0)
    envs.seed(0)
    first = envs.reset()
    np.testing.assert_array_equal(first, flatten_arrays(expected).reshape(6, -1))
    straight, total = np.zeros((6, 2), np.float32), np.zeros(6)
    landed = [[True, False, False], [True, True, False], [True, True, True]]
    for step in range(3):
        expected, _, _, _, wanted = single.step(straight.reshape(2, 3, 2))
        seen, reward, done, infos = envs.step(straight)
        np.testing.assert_allclose(reward, wanted["aircraft_reward"].ravel(), atol=1e-6)
        assert done.tolist() == landed[step] * 2
        total += reward
        ends = [row for row in range(6) if infos[row]]
        assert ends == [step, step + 3]  # one flight of each sector ends in each step, and is told once
        for row in ends:
            assert infos[row]["outcome"] == (TIME_LIMIT if step == 2 else WAYPOINT)
            assert infos[row]["TimeLimit.truncated"] == (step == 2)
            assert infos[row]["episode"]["r"] == pytest.approx(total[row], abs=1e-5)
            assert infos[row]["episode"]["l"] == step + 1
            last = flatten_arrays(expected).reshape(6, -1)[row]
            np.testing.assert_array_equal(infos[row]["terminal_observation"], last)
            assert last.any() == (step == 2)  # who is stopped by the clock is still seen
    np.testing.assert_array_equal(seen, first)  # the next episode of a scenario that is always the same
    assert envs.agent_steps == 2 * (1 + 2 + 3)
    assert not envs.step(straight)[2][1]


@pytest.mark.slow
def test_evaluate_policy_counts_flights_and_no_steps_of_who_has_landed(soon_there):
    envs = adapted(SectorVectorEnv(2, soon_there, "ego", teacher=None, autoreset_mode="SAME_STEP"))
    from stable_baselines3.common.evaluation import evaluate_policy

    class StraightOn:
        def predict(self, observations, **others):
            return np.zeros((len(observations), 2), np.float32), None

    returns, lengths = evaluate_policy(StraightOn(), envs, n_eval_episodes=6, return_episode_rewards=True)
    assert sorted(lengths) == [1, 1, 2, 2, 3, 3]
    assert min(np.abs(returns)) > 0


@pytest.mark.slow
def test_of_ownships_every_flight_is_a_row(soon_there):
    options = {"config": soon_there, "view": "ego", "autoreset_mode": "SAME_STEP"}
    envs, plain = adapted(OwnshipVectorEnv(4, **options)), OwnshipVectorEnv(4, **options)
    envs.seed(3)
    np.testing.assert_array_equal(envs.reset(), plain.reset(seed=3)[0])
    ends = 0
    for _ in range(6):
        seen, reward, done, infos = envs.step(np.zeros((4, 2), np.float32))
        expected, wanted, terminated, truncated, described = plain.step(np.zeros((4, 2), np.float32))
        np.testing.assert_array_equal(seen, expected)
        np.testing.assert_allclose(reward, wanted, atol=1e-6)
        assert done.tolist() == (terminated | truncated).tolist()
        for row in np.flatnonzero(done):
            np.testing.assert_array_equal(infos[row]["terminal_observation"], described["final_obs"][row])
            assert infos[row]["TimeLimit.truncated"] == truncated[row]
            assert infos[row]["outcome"] == described["final_info"]["outcome"][row]
            ends += 1
    assert ends >= 8


@pytest.mark.slow
def test_wrong_use_says_what_to_do(soon_there):
    with pytest.raises(ConfigurationError, match=r"expected .* autoreset_mode='SAME_STEP', got NEXT_STEP"):
        adapted(SectorVectorEnv(2, soon_there))
    envs = adapted(SectorVectorEnv(2, soon_there, teacher=None, autoreset_mode="SAME_STEP"))
    assert envs.get_attr("num_envs", [0, 1]) == [2, 2]
    assert envs.env_is_wrapped(gymnasium.Wrapper) == [False] * 6
    with pytest.raises(NotImplementedError, match="rows share one batch"):
        envs.set_attr("num_envs", 3)


def test_without_stable_baselines3_the_error_names_it(monkeypatch):
    for name in ("stable_baselines3", "stable_baselines3.common.vec_env"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "skyclone.collect.environments.stable_baselines", raising=False)
    with pytest.raises(ConfigurationError, match=r"not installed\. Install it: pip install stable-baselines3"):
        _ = environments.StableBaselinesVecEnv
