import numpy as np
import pytest
import torch

from skyclone.collect import scenarios
from skyclone.collect.airspace.reward import REWARDS
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios.registry import Layout
from skyclone.collect.teachers.registry import make
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT

SMALL = WorldConfig(aircraft=6)
SQUARE = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
ROWS = {
    "position": np.array([[0.0, 0], [0, 900], [-900, 0], [500, 500]]),
    "waypoint": np.array([[0.0, 27], [0, 9000], [-900, 9000], [500, 9000]]),
}


@pytest.fixture
def by_hand(monkeypatch):
    """Register a scenario `by-hand`, its positions and waypoints to be filled in: a square of 2 km."""
    monkeypatch.setattr(scenarios.registry, "_SCENARIOS", dict(scenarios.registry._SCENARIOS))
    rows = {name: values.copy() for name, values in ROWS.items()}
    scenarios.register("by-hand")(lambda generator, config: Layout(SQUARE, rows["position"], rows["waypoint"]))
    return rows


def fly_to_the_end(world, pilot):
    """Every step's result, until all is over."""
    results = []
    while not world.is_over.all():
        results.append(world.step(pilot(world.traffic, world.pairs)))
    return results


def state_of(world, slot):
    return torch.stack([each[slot].double() for each in vars(world.traffic).values() if each is not None])


# --- how flights end ---


def test_outcomes_by_hand(by_hand):
    # 0 reaches its waypoint after 1 s (27 m away, 18.52 m are enough); 1 has 100 m to the edge and may be 50 m
    # beyond it, so after 17 s it is gone; 2 and 3 fly on until the time limit of 40 s
    config = WorldConfig(aircraft=4, scenario="by-hand", max_steps=40)
    world = World(config, 0, [0])
    outcomes = [result.outcome[0].tolist() for result in fly_to_the_end(world, lambda t, p: torch.zeros((1, 4, 2)))]
    assert len(outcomes) == 40
    assert outcomes[0] == [WAYPOINT, FLYING, FLYING, FLYING]
    assert outcomes[16] == [FLYING, LEFT_SECTOR, FLYING, FLYING]
    assert outcomes[39] == [FLYING, FLYING, TIME_LIMIT, TIME_LIMIT]
    assert np.count_nonzero(outcomes) == 4  # each flight ends once


def test_terminated_and_truncated(by_hand):
    world = World(WorldConfig(aircraft=4, scenario="by-hand", max_steps=2), 0, [0])
    first, second = fly_to_the_end(world, lambda t, p: torch.zeros((1, 4, 2)))
    assert first.terminated.tolist() == [[True, False, False, False]]
    assert not first.truncated.any()
    assert second.truncated.tolist() == [[False, True, True, True]]
    assert not second.terminated.any()
    assert world.steps.tolist() == [2]


def test_a_waypoint_reached_with_the_last_step_or_outside_counts_as_reached(by_hand):
    by_hand["position"][:] = [[0, 0], [0, 1045], [300, 0], [600, 0]]
    by_hand["waypoint"][:] = [[0, 27], [0, 1072], [300, 9000], [600, 9000]]  # the second ends 54 m outside
    world = World(WorldConfig(aircraft=4, scenario="by-hand", max_steps=2), 0, [0])
    results = fly_to_the_end(world, lambda t, p: torch.zeros((1, 4, 2)))
    assert results[0].outcome[0, :2].tolist() == [WAYPOINT, WAYPOINT]
    by_hand["waypoint"][0] = [0, 36]  # 18 m to go after the second and last step
    world = World(WorldConfig(aircraft=4, scenario="by-hand", max_steps=2), 0, [0])
    results = fly_to_the_end(world, lambda t, p: torch.zeros((1, 4, 2)))
    assert results[1].outcome[0].tolist() == [WAYPOINT, FLYING, TIME_LIMIT, TIME_LIMIT]


def test_ended_aircraft_are_gone_for_everybody(by_hand):
    # 1 flies 50 m beside 0, which ends after the first step
    by_hand["position"][1], by_hand["waypoint"][1] = [50, 0], [50, 9000]
    world = World(WorldConfig(aircraft=4, scenario="by-hand"), 0, [0])
    assert world.pairs.is_pair[0, 1, 0]
    first = world.step(torch.zeros((1, 4, 2)))
    assert first.reward[0, 1] > -0.01  # 0 has just ended: it is no intruder
    assert not world.pairs.is_pair[0, :, 0].any()
    assert not world.pairs.is_pair[0, 0].any()
    assert world.pairs.distance2_m2[0, 1, 0] == torch.inf
    place = world.traffic.north_m[0, 0].item()
    second = world.step(torch.ones((1, 4, 2)))
    assert second.reward[0, 0] == 0
    assert second.outcome[0, 0] == FLYING
    assert not second.terminated[0, 0]
    assert world.traffic.north_m[0, 0] == place


def test_stepping_a_world_that_is_over_changes_nothing(by_hand):
    world = World(WorldConfig(aircraft=4, scenario="by-hand", max_steps=1), 0, [0])
    world.step(torch.zeros((1, 4, 2)))
    assert world.is_over.tolist() == [True]
    result = world.step(torch.ones((1, 4, 2)))
    assert not result.reward.any()
    assert not result.outcome.any()
    assert not result.truncated.any()


# --- seeds and batches ---


def test_an_episode_is_the_same_in_every_batch_and_place():
    world, other = World(SMALL, 5, [3, 8, 4]), World(SMALL, 5, [9, 4])
    assert torch.equal(state_of(world, 2), state_of(other, 1))
    assert not torch.equal(state_of(world, 0), state_of(world, 1))
    assert not torch.equal(state_of(world, 0), state_of(World(SMALL, 6, [3]), 0))
    pilot = TeacherPilot(make("mvp", SMALL), SMALL)
    for _ in range(25):
        results = [each.step(pilot(each.traffic, each.pairs)) for each in (world, other)]
        torch.testing.assert_close(results[0].reward[2], results[1].reward[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state_of(world, 2), state_of(other, 1), rtol=0, atol=1e-2)


def test_flying_twice_is_bit_equal_and_touches_no_global_random_state():
    torch.manual_seed(11)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    finals = []
    for _ in range(2):
        world = World(SMALL, 2, range(4))
        fly_to_the_end(world, TeacherPilot(make("mvp", SMALL), SMALL))
        finals.append(torch.stack([state_of(world, slot) for slot in range(4)]))
    assert torch.equal(*finals)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_restarting_some_slots_leaves_the_others_alone():
    pilot = TeacherPilot(make("mvp", SMALL), SMALL)
    world, alone = World(SMALL, 4, [0, 1, 2]), World(SMALL, 4, [0, 1, 2])
    for step in range(30):
        if step == 10:
            world.restart([1], [17])
            assert world.steps.tolist() == [10, 0, 10]
            assert world.episodes == [0, 17, 2]
            assert torch.equal(state_of(world, 1), state_of(World(SMALL, 4, [17]), 0))
        for each in (world, alone):
            each.step(pilot(each.traffic, each.pairs))
    for slot in (0, 2):
        assert torch.equal(state_of(world, slot), state_of(alone, slot))
        assert torch.equal(world.pairs.distance2_m2[slot], alone.pairs.distance2_m2[slot])
    world.restart([], [])
    assert world.steps.tolist() == [30, 20, 30]


def test_restarting_with_more_corners_than_before():
    # polygons differ in their number of corners; a slot may get one with more than the whole batch had
    counts = {episode: len(scenarios.lay_out(SMALL, 0, episode).corners_m) for episode in range(40)}
    few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    assert counts[few] < counts[many]
    world, alone = World(SMALL, 0, [few, few]), World(SMALL, 0, [few, few])
    world.restart([1], [many])
    assert world.corners_m.shape[1] == counts[many]
    pilot = TeacherPilot(make("mvp", SMALL), SMALL)
    for _ in range(SMALL.max_steps):
        results = [each.step(pilot(each.traffic, each.pairs)) for each in (world, alone)]
        assert torch.equal(results[0].outcome[0], results[1].outcome[0])


def test_keeping_some_slots_leaves_them_alone():
    pilot = TeacherPilot(make("mvp", SMALL), SMALL)
    world, alone = World(SMALL, 4, [0, 1, 2, 3]), World(SMALL, 4, [0, 1, 2, 3])
    world.keep(torch.tensor([3, 1]))
    assert world.episodes == [3, 1]
    for _ in range(40):
        for each in (world, alone):
            each.step(pilot(each.traffic, each.pairs))
    for kept, slot in ((0, 3), (1, 1)):
        torch.testing.assert_close(state_of(world, kept), state_of(alone, slot), rtol=0, atol=1e-2)


def test_the_order_of_aircraft_does_not_matter(by_hand):
    config = WorldConfig(aircraft=4, scenario="by-hand")
    pilot = TeacherPilot(make("mvp", config), config)
    finals = []
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        by_hand["position"][:] = np.array([[0, -200], [-190, 0], [0, 200], [210, 10]])[order]
        by_hand["waypoint"][:] = np.array([[0, 900], [900, 0], [0, -900], [-900, 0]])[order]
        world = World(config, 0, [0])
        for _ in range(40):
            world.step(pilot(world.traffic, world.pairs))
        finals.append(state_of(world, 0)[:, np.argsort(order)])
    torch.testing.assert_close(*finals, rtol=0, atol=1e-2)


# --- numbers of aircraft ---


def test_one_aircraft_alone_arrives():
    config = WorldConfig(aircraft=1)
    world = World(config, 0, [0, 1, 2])
    results = fly_to_the_end(world, TeacherPilot(make("mvp", config), config))
    assert sum(result.terminated.sum().item() for result in results) == 3
    assert all(result.reward.isfinite().all() for result in results)
    assert all((result.outcome[result.outcome != FLYING] == WAYPOINT).all() for result in results)


def test_a_random_number_of_aircraft():
    config = WorldConfig(aircraft=7, scenario="random-n:low=2")
    world = World(config, 0, range(30))
    flying = world.traffic.is_flying.sum(-1)
    assert flying.min() >= 2
    assert set(flying.tolist()) == {2, 3, 4, 5, 6, 7}
    absent = ~world.traffic.is_flying
    results = fly_to_the_end(world, TeacherPilot(make("mvp", config), config))
    assert not any(result.reward[absent].any() or result.outcome[absent].any() for result in results)


@pytest.mark.parametrize("scenario", ["circle", "crossing", "sector"])
def test_every_scenario_can_be_flown_to_its_end(scenario):
    config = WorldConfig(aircraft=8, scenario=scenario)
    world = World(config, 1, range(3))
    assert torch.equal(world.pairs.is_pair, pairs_of(world.traffic).is_pair)
    results = fly_to_the_end(world, TeacherPilot(make("mvp", config), config))
    reached = sum((result.outcome == WAYPOINT).sum().item() for result in results)
    assert reached >= 22  # of 24


def test_rewards_are_those_of_the_named_function(monkeypatch):
    def one(config, change):
        return torch.ones_like(change.before.east_m)

    monkeypatch.setitem(REWARDS, "one", lambda: one)
    world = World(WorldConfig(aircraft=2, reward="one"), 0, [0])
    assert world.step(torch.zeros((1, 2, 2))).reward.tolist() == [[1, 1]]


def test_unknown_names_are_reported_at_once():
    with pytest.raises(ConfigurationError, match=r"unknown scenario 'secter'\. There are: arrivals, circle"):
        World(WorldConfig(scenario="secter"), 0, [0])
    with pytest.raises(ConfigurationError, match=r"unknown reward 'sead'\. There are: seed"):
        World(WorldConfig(reward="sead"), 0, [0])


# --- what aircraft know ---

REMOTE = WorldConfig(
    aircraft=6, surveillance="noise:position_m=5:velocity_mps=0.5:latency_s=1:reception=0.7:error_s=4"
)


def known_by(world):
    """What is known in the present state, as one tensor."""
    traffic, pairs = world.perceive()
    return torch.cat((traffic.east_m.unsqueeze(-1), traffic.track_rad.unsqueeze(-1), *pairs[:5]), dim=-1)


def test_perfect_surveillance_is_the_state_itself():
    world = World(SMALL, 0, range(2))
    assert world.perception is None
    assert world.perceive() == (world.traffic, world.pairs)


def test_what_is_known_follows_restarts_and_what_is_kept():
    pilot = TeacherPilot(make("mvp", REMOTE), REMOTE)
    world, alone = World(REMOTE, 0, [0, 1, 2]), World(REMOTE, 0, [7])
    for _ in range(4):
        world.step(pilot(*world.perceive()))
    world.restart([1], [7])
    world.keep(torch.tensor([1, 2]))
    for _ in range(5):
        assert torch.equal(known_by(world)[:1], known_by(alone))
        world.step(pilot(*world.perceive()))
        alone.step(pilot(*alone.perceive()))
    assert not torch.equal(world.perceive()[0].east_m, world.traffic.east_m)


def test_flying_by_what_is_known_counts_the_truth():
    pilot = TeacherPilot(make("mvp", REMOTE), REMOTE)
    world, by_hand = World(REMOTE, 0, range(3)), World(REMOTE, 0, range(3))
    for step, _ in zip(fly(world, pilot), range(5), strict=False):
        assert torch.equal(step.pairs.distance2_m2, pairs_of(step.traffic).distance2_m2)
        assert torch.equal(step.action, pilot(*by_hand.perceive()))
        assert not torch.equal(step.action, pilot(by_hand.traffic, by_hand.pairs))
        by_hand.step(step.action)
