"""Rollouts are replayed here step by step in a world of their own, and every row is looked up again."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skyclone.collect.airspace import neighbours
from skyclone.collect.airspace.objective import TERMS, Change, Costs, aircraft_costs
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.scenarios.registry import generator_of
from skyclone.collect.scenarios.start import stack
from skyclone.datasets.traffic.observation import Observation, observe_all
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import LEFT_SECTOR
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.finetuning import ppo
from skyclone.train.finetuning.critic import Critic
from skyclone.train.finetuning.rollout import (
    TRAINING_EPISODES,
    Crew,
    Rollout,
    RolloutFigures,
    Stranded,
    estimate,
    returns,
)
from skyclone.train.runs.gate import GATE_EPISODES

CONFIG = WorldConfig(aircraft=5, max_steps=30, sector_radius_m=300.0, sector_area_m2=150_000.0, reward="detour")
VIEW = View("ego", intruders=3)
EPISODES = 4
ROUNDING = 1e-5  # where a row stands in its batch decides which instructions calculate it


def actor(log_std: float = -2.0) -> ppo.Actor:
    network = networks.make("pairwise", VIEW, seed=1, hidden=16, width=8, heads=1, head_size=4)
    return ppo.Actor(network, log_std)


def crew(config: WorldConfig = CONFIG, seed: int = 0, spread: int | None = 0) -> Crew:
    return Crew(config, seed, EPISODES, VIEW, spread_steps=spread)


def flown(horizon: int = 70, config: WorldConfig = CONFIG) -> tuple[Crew, Rollout]:
    torch.manual_seed(1)  # a global seed must not matter
    pilots = crew(config)
    return pilots, pilots.fly(actor(), horizon, torch.Generator().manual_seed(0))


@cache
def flown_once() -> Rollout:
    """What is flown by default; tests only read it."""
    return flown()[1]


def test_by_lists_of_neighbours_the_same_is_flown() -> None:
    config = WorldConfig(aircraft=8, max_steps=20, sector_radius_m=300.0, sector_area_m2=150_000.0, reward="detour")
    rollouts = []
    for few in (3, 1000):
        with mock.patch.object(neighbours, "FEW", few):
            pilots, rollout = flown(30, config)
        assert (pilots.world.pairs.listed is None) == (few == 1000)
        rollouts.append(rollout)
    lists, dense = rollouts
    for name in ("is_flying", "is_terminated", "is_truncated"):
        assert torch.equal(getattr(lists, name), getattr(dense, name))
    torch.testing.assert_close(lists.reward, dense.reward, rtol=1e-3, atol=1e-2)
    for name in ("observation", "final_observation", "last_observation"):
        for one, other in zip(getattr(lists, name), getattr(dense, name)):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert lists.figures == pytest.approx(dense.figures, rel=1e-3, abs=1e-3)
    assert len(lists.final_observation.ownship) > 0


def test_rows_are_the_states_that_were_flown() -> None:
    rollout = flown_once()
    world = World(CONFIG, 0, range(TRAINING_EPISODES, TRAINING_EPISODES + EPISODES))
    stranded = Stranded(world)
    following, row, final_row = TRAINING_EPISODES + EPISODES, 0, 0
    for step in range(len(rollout.reward)):
        flying = world.traffic.is_flying
        assert torch.equal(rollout.is_flying[step], flying.flatten())
        rows = slice(row, row + int(flying.sum()))
        for part, stored in zip(observe_all(world.traffic, VIEW, world.pairs), rollout.observation):
            torch.testing.assert_close(stored[rows], part[flying], rtol=0, atol=ROUNDING)
        action = torch.zeros(EPISODES, 5, 2)
        action[flying] = rollout.action[rows]
        row = rows.stop
        result = world.step(action)
        assert torch.equal(rollout.reward[step], result.reward.flatten())
        assert torch.equal(rollout.is_terminated[step], result.terminated.flatten())
        is_truncated = result.truncated | stranded.take_out()
        assert torch.equal(rollout.is_truncated[step], is_truncated.flatten())
        stopped = world.traffic.clone()
        stopped.is_flying |= is_truncated
        finals = slice(final_row, final_row + int(is_truncated.sum()))
        for part, stored in zip(observe_all(stopped, VIEW), rollout.final_observation):
            torch.testing.assert_close(stored[finals], part[is_truncated], rtol=0, atol=ROUNDING)
        final_row = finals.stop
        over = world.is_over.nonzero().flatten().tolist()
        world.restart(over, range(following, following + len(over)))
        following += len(over)
    assert row == len(rollout.action)
    assert final_row == len(rollout.final_observation.ownship) > 0
    assert rollout.is_terminated.any()
    assert following > TRAINING_EPISODES + 2 * EPISODES  # every slot began anew at least once
    for part, stored in zip(observe_all(world.traffic, VIEW, world.pairs), rollout.last_observation):
        torch.testing.assert_close(stored, part[world.traffic.is_flying], rtol=0, atol=ROUNDING)


def test_final_observations_show_the_others_that_were_stopped() -> None:
    rollout = flown_once()
    assert rollout.final_observation.is_present.any()


def test_log_prob_is_that_of_the_unclipped_sample() -> None:
    rollout = flown_once()
    policy = actor()
    with torch.no_grad():
        again = ppo.log_prob(rollout.action, policy(rollout.observation), policy.log_std)
    torch.testing.assert_close(rollout.log_prob, again, rtol=1e-4, atol=1e-4)
    assert abs(float(rollout.action.std()) - 0.1353) < 0.2


def test_estimates_are_those_of_each_aircraft_alone() -> None:
    rollout = flown_once()
    critic = Critic(VIEW, actor().network.spec, seed=3)
    critic.calibrate(returns(rollout, 0.9))
    estimates = estimate(rollout, critic, 0.9, 0.8)
    with torch.no_grad():
        values, finals = critic(rollout.observation), critic(rollout.final_observation)
        lasts = critic(rollout.last_observation)
    value = {place: float(v) for place, v in zip(map(tuple, rollout.is_flying.nonzero().tolist()), values)}
    final = {place: float(v) for place, v in zip(map(tuple, rollout.is_truncated.nonzero().tolist()), finals)}
    last = {slot: float(v) for slot, v in zip(rollout.is_flying_after.nonzero().flatten().tolist(), lasts)}
    steps = len(rollout.reward)
    advantage: dict[tuple[int, int], float] = {}
    for step, slot in sorted(value, reverse=True):
        here, carry = (step, slot), 0.0
        if rollout.is_terminated[here]:
            expected = 0.0
        elif rollout.is_truncated[here]:
            expected = final[here]
        else:
            expected = value[step + 1, slot] if step + 1 < steps else last[slot]
            carry = advantage.get((step + 1, slot), 0.0)
        advantage[here] = float(rollout.reward[here]) + 0.9 * expected - value[here] + 0.9 * 0.8 * carry
    by_hand = torch.tensor([advantage[place] for place in sorted(value)])
    torch.testing.assert_close(estimates.value, values)
    torch.testing.assert_close(estimates.advantage, by_hand, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(estimates.target, by_hand + values, rtol=1e-4, atol=1e-4)


def test_returns_add_up_the_discounted_rewards_of_a_flight() -> None:
    rollout = flown_once()
    total = torch.zeros_like(rollout.reward)
    running = torch.zeros(rollout.reward.shape[1])
    for step in range(len(total) - 1, -1, -1):
        ends = rollout.is_terminated[step] | rollout.is_truncated[step]
        running = rollout.reward[step] + 0.5 * running.masked_fill(ends | ~rollout.is_flying[step], 0.0)
        total[step] = running
    torch.testing.assert_close(returns(rollout, 0.5), total[rollout.is_flying])


def test_the_same_seed_flies_the_same() -> None:
    (_, one), (_, other) = flown(), flown()
    assert torch.equal(one.action, other.action)
    assert torch.equal(one.reward, other.reward)


def test_another_seed_flies_otherwise() -> None:
    one = crew(seed=0).fly(actor(), 5, torch.Generator().manual_seed(0))
    other = crew(seed=1).fly(actor(), 5, torch.Generator().manual_seed(0))
    assert not torch.equal(one.observation.ownship[:5], other.observation.ownship[:5])


def goes_on_alike(pilots: Crew, again: Crew, generator: torch.Generator) -> None:
    """Save a crew, fly on, restore another from what was saved, fly on, and compare."""
    tensors = {name: tensor.clone() for name, tensor in pilots.tensors().items()}
    counters, random = pilots.counters(), generator.get_state()
    expected = pilots.fly(actor(), 60, generator)
    again.restore(tensors, counters)
    generator.set_state(random)
    got = again.fly(actor(), 60, generator)
    for one, other in zip(expected, got):
        parts = zip(one, other) if isinstance(one, Observation) else [(one, other)]
        for part, same in parts:
            assert torch.equal(part, same) if isinstance(part, torch.Tensor) else part == same
    assert again.world.episodes == pilots.world.episodes


def test_restored_it_goes_on_bit_for_bit() -> None:
    pilots, generator = crew(spread=20), torch.Generator().manual_seed(0)
    pilots.fly(actor(), 17, generator)
    goes_on_alike(pilots, crew(spread=20), generator)


HEARD = replace(CONFIG, surveillance="noise:position_m=5:velocity_mps=0.5:latency_s=1:reception=0.6:error_s=3")


def test_the_policy_sees_what_aircraft_perceive_and_the_critic_the_state() -> None:
    _, rollout = flown(12, HEARD)
    assert rollout.state is not None
    world, row = World(HEARD, 0, range(TRAINING_EPISODES, TRAINING_EPISODES + EPISODES)), 0
    for _ in range(3):
        flying = world.traffic.is_piloted
        rows = slice(row, row + int(flying.sum()))
        known = observe_all(world.perceive()[0], VIEW, world.perceive()[1])
        true = observe_all(world.traffic, VIEW, world.pairs)
        for part, other, seen, stored in zip(known, true, rollout.observation, rollout.state):
            assert torch.equal(part[flying], seen[rows])
            assert torch.equal(other[flying], stored[rows])
        action = torch.zeros((*flying.shape, 2))
        action[flying] = rollout.action[rows]
        world.step(action)
        row = rows.stop
    critic = Critic(VIEW, {"name": "mlp", "parameters": {"hidden": 8}}, 0)
    expected = critic(rollout.state)
    torch.testing.assert_close(estimate(rollout, critic, 0.9, 0.9).value, expected, rtol=0, atol=ROUNDING)


def test_restored_aircraft_know_what_they_knew() -> None:
    pilots, generator = crew(HEARD, spread=20), torch.Generator().manual_seed(0)
    pilots.fly(actor(), 17, generator)
    tensors = {name: tensor.clone() for name, tensor in pilots.tensors().items()}
    counters, random = pilots.counters(), generator.get_state()
    expected = pilots.fly(actor(), 40, generator)
    again = crew(HEARD, spread=20)
    again.restore(tensors, counters)
    generator.set_state(random)
    got = again.fly(actor(), 40, generator)
    for one, other in ((expected.observation, got.observation), (expected.state, got.state)):
        assert one is not None
        assert other is not None
        assert all(torch.equal(part, same) for part, same in zip(one, other))


def test_restored_it_knows_where_its_sectors_end() -> None:
    """Each episode has a sector of its own, and aircraft leave it where it ends."""
    pilots, again = crew(), crew()
    pilots.fly(actor(), 40, torch.Generator().manual_seed(0))  # all of them are in their second episode
    again.restore(pilots.tensors(), pilots.counters())
    outcomes = []
    for bearing in torch.arange(0, 6.2, 0.2):  # 100, 150, ... 300 m from the middle, all around
        for world in (pilots.world, again.world):
            world.traffic = world.traffic.map(torch.zeros_like)
            world.traffic.is_flying[:] = True
            world.traffic.east_m += torch.arange(100, 350, 50) * bearing.sin()
            world.traffic.north_m += torch.arange(100, 350, 50) * bearing.cos()
            outcomes.append(world.step(torch.zeros(EPISODES, 5, 2)).outcome)
    expected, got = torch.stack(outcomes[::2]), torch.stack(outcomes[1::2])
    assert (expected == LEFT_SECTOR).any()
    assert torch.equal(got, expected)


def test_episodes_begin_spread_out() -> None:
    pilots = crew(spread=20)
    rollout = pilots.fly(actor(), 20, torch.Generator().manual_seed(0))
    begins = rollout.is_flying.view(20, EPISODES, 5).any(-1).int().argmax(0)
    assert begins.tolist() == [0, 5, 10, 15]
    assert not rollout.is_flying[0].view(EPISODES, 5)[1:].any()


def test_by_default_they_are_spread_over_a_crossing_of_the_sector() -> None:
    config = replace(CONFIG, max_steps=300)
    assert crew(config, spread=None)._begins.tolist() == [0, 12, 25, 37]  # 1.5 * 300 m at 9 m/s: 50 s


def test_figures_tell_what_happened() -> None:
    rollout = flown_once()
    figures = rollout.figures
    assert figures["reward"] == pytest.approx(float(rollout.reward.sum() / rollout.is_flying.sum()), rel=1e-4)
    ended = rollout.is_terminated.sum() + rollout.is_truncated.sum()
    truncated = figures["time_limit_rate"] + figures["stranded_rate"]
    assert truncated == pytest.approx(float(rollout.is_truncated.sum() / ended), rel=1e-5)
    assert min(figures["time_limit_rate"], figures["stranded_rate"]) > 0
    rates = (figures[f"{name}_rate"] for name in ("waypoint", "left_sector", "time_limit", "stranded"))
    assert sum(rates) == pytest.approx(1)


def test_the_terms_of_the_reward_are_those_of_every_eighth_step() -> None:
    _, rollout = flown(31)  # looked at after 8, 16 and 24 steps
    world = World(CONFIG, 0, range(TRAINING_EPISODES, TRAINING_EPISODES + EPISODES))
    stranded = Stranded(world)
    sums, rows, looked_at = dict.fromkeys(TERMS, 0.0), 0, 0
    for step in range(29):  # the time limit ends all after 30
        before = world.traffic
        count = int(before.is_flying.sum())
        action = torch.zeros(EPISODES, 5, 2)
        action[before.is_flying] = rollout.action[rows : rows + count]
        outcome = world.step(action).outcome
        rows += count
        if step + 1 in (8, 16, 24):
            looked_at += count
            change = Change(before, action.clamp(-1, 1), world.traffic, world.pairs, outcome, world.corners_m)
            for name, term in aircraft_costs(CONFIG, change, Costs()).items():
                sums[name] += float(term.sum())
        stranded.take_out()
        assert not bool(world.is_over.any())
    told = {name.removeprefix("reward_"): value for name, value in rollout.figures.items() if "reward_" in name}
    assert told == pytest.approx({name: total / looked_at for name, total in sums.items()}, rel=1e-3, abs=1e-5)
    assert {name for name, total in sums.items() if total} > {"path", "proximity", "predicted", "effort"}


def test_of_another_reward_there_are_no_terms() -> None:
    _, rollout = flown(10, replace(CONFIG, reward="seed"))
    assert not [name for name in rollout.figures if name.startswith("reward_")]


def test_no_layout_is_shared_with_datasets_evaluation_or_gate() -> None:
    assert GATE_EPISODES >= 2 * TRAINING_EPISODES
    draws = {
        generator_of(seed, first + episode, stream).integers(2**63)
        for seed in (0, 1)
        for first in (0, 2**31 - 10, TRAINING_EPISODES, GATE_EPISODES)
        for episode in range(10)
        for stream in (0, 1)
    }
    assert len(draws) == 2 * 4 * 10 * 2


# --- who is stuck ---

FREE = WorldConfig(aircraft=3, reward="detour")
WIDE = View("ego", intruders=2)
Place = tuple[float, float]
APART: list[Place] = [(-400, 0), (0, 0), (400, 0)]
CLOSE: list[Place] = [(-400, 0), (0, 0), (50, 0)]


def put(world: World, places: Sequence[Place], speed_mps: float | Sequence[float] = 9.0) -> None:
    """Put the aircraft of every episode to these places, flying north."""
    traffic = world.traffic.clone()
    traffic.east_m[:], traffic.north_m[:] = torch.tensor(places).T
    traffic.track_rad[:] = 0.0
    traffic.speed_mps[:] = torch.tensor(speed_mps)
    world.traffic, world.pairs = traffic, pairs_of(traffic)


def flying_after(
    steps: int, places: Sequence[Place], speed_mps: float | Sequence[float], config: WorldConfig = FREE
) -> list[bool]:
    """Who of one episode still flies after some steps in the same places."""
    world = World(config, 0, range(1))
    stranded = Stranded(world)
    for _ in range(steps):
        flying = world.traffic.is_flying
        put(world, places, speed_mps)
        world.traffic.is_flying = flying.clone()
        world.pairs = pairs_of(world.traffic)
        before = world.traffic.is_flying.clone()
        out = stranded.take_out()
        assert torch.equal(world.traffic.is_flying, before & ~out)
        expected = pairs_of(world.traffic)
        assert all(torch.equal(one, other) for one, other in zip(world.pairs[:6], expected[:6]))
    found: list[bool] = world.traffic.is_flying[0].tolist()
    return found


@pytest.mark.parametrize(
    ("places", "speed_mps", "seconds", "stuck"),
    [
        (CLOSE, 9.0, 10.0, [1, 2]),
        (APART, [9.0, 0.0, 0.5], 20.0, [1, 2]),
        (APART, [9.0, 9.0, 0.89], 20.0, [2]),
    ],
)
@pytest.mark.parametrize("step_s", [1.0, 2.0])
def test_taken_out_after_so_many_seconds_and_not_before(
    places: list[Place], speed_mps: float, seconds: float, stuck: list[int], step_s: float
) -> None:
    config, steps = replace(FREE, step_s=step_s), round(seconds / step_s)
    assert flying_after(steps - 1, places, speed_mps, config) == [True] * 3
    assert flying_after(steps, places, speed_mps, config) == [place not in stuck for place in range(3)]


def test_where_zones_take_longer_to_cross_one_may_be_in_them_for_longer() -> None:
    slow = replace(FREE, cruise_mps=4.0, start_separation_m=125.0)  # 100 m at 4 m/s: 25 s
    assert flying_after(22, CLOSE, 4.0, slow) == [True] * 3
    assert flying_after(23, CLOSE, 4.0, slow) == [True, False, False]
    assert flying_after(44, APART, [4.0, 0.0, 0.5], slow) == [True] * 3
    assert flying_after(45, APART, [4.0, 0.0, 0.5], slow) == [True, False, True]


def test_flying_and_slow_flight_are_no_reason() -> None:
    assert flying_after(300, APART, [9.0, 0.91, 18.0]) == [True] * 3


def test_a_break_begins_anew() -> None:
    world = World(FREE, 0, range(2))
    stranded = Stranded(world)
    for seconds in range(60):
        put(world, APART if seconds % 10 == 9 else CLOSE)
        assert not stranded.take_out().any()
    for seconds in range(60):
        put(world, APART, 0.0 if seconds % 20 else 9.0)
        assert not stranded.take_out().any()


def test_what_was_counted_is_saved() -> None:
    world, other = World(FREE, 0, range(2)), World(FREE, 0, range(2))
    stranded, again = Stranded(world), Stranded(other)
    for _ in range(9):
        put(world, CLOSE)
        stranded.take_out()
    again.restore(stranded.tensors())
    put(other, CLOSE)
    assert again.take_out().tolist() == [[False, True, True]] * 2


class Straight(nn.Module):
    """A network that flies on as it is."""

    class settings:  # what an actor asks of a network
        outputs = 2

    def forward(self, observation: Observation) -> Tensor:
        return torch.zeros((len(observation.ownship), 2))


def test_in_a_rollout_they_are_cut_short_like_those_whose_time_is_up() -> None:
    """The critic is asked what it expects of the state in which they stopped: both of them are still in it."""
    crew = Crew(FREE, 0, 2, WIDE, spread_steps=0)
    put(crew.world, [(-400, -300), (0, -300), (50, -300)])
    crew.world.traffic.waypoint_north_m[:] = 900.0
    rollout = crew.fly(ppo.Actor(Straight(), -20.0), 14, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    truncated = rollout.is_truncated.view(14, 2, 3)
    flying = rollout.is_flying.view(14, 2, 3)
    assert truncated.nonzero().tolist() == [[9, 0, 1], [9, 0, 2], [9, 1, 1], [9, 1, 2]]
    assert flying[:10].all()
    assert flying[10:, :, 0].all()
    assert not flying[10:, :, 1:].any()
    assert not rollout.is_terminated.any()
    final = rollout.final_observation
    assert final.is_present.tolist() == [[True, True]] * 4, "each still sees the other two"
    zone = FREE.protected_zone_m
    assert (final.intruders[:, 0, 0] * WIDE.length_m < zone).all()
    last = rollout.last_observation
    assert last.is_present.tolist() == [[False, False]] * 2, "who is left is alone"
    assert rollout.figures["stranded_rate"] == 1.0
    assert crew.world.traffic.is_flying.tolist() == [[True, False, False]] * 2
    assert int((rollout.is_flying & rollout.is_truncated).sum()) == 4


@pytest.mark.parametrize("scenario", ["hover:share=0.4", "arrivals:pads=2", "mix:hover=1:arrivals=1:inside=1"])
def test_traffic_that_goes_on_is_flown_and_restored_bit_for_bit(scenario: str) -> None:
    """Restored in the middle of waiting: entries that were put off stay put off."""
    config = replace(CONFIG, aircraft=8, max_steps=90, scenario=scenario, start_separation_m=70.0)

    def begin() -> Crew:
        return Crew(config, 2, EPISODES, VIEW, spread_steps=20)

    pilots, generator, untouched = begin(), torch.Generator().manual_seed(0), begin()
    rollout = pilots.fly(actor(), 50, generator)
    observed = [*rollout.observation, *rollout.final_observation, rollout.log_prob, rollout.reward]
    assert all(torch.isfinite(part).all() for part in observed)
    assert scenario.startswith("arrivals") == (pilots.world.traffic.is_hovering is None)
    before, after = (each.world.itinerary.entry_steps for each in (untouched, pilots))
    same = torch.tensor(untouched.world.episodes) == torch.tensor(pilots.world.episodes)
    if scenario.startswith("arrivals"):
        assert (after[same] > before[same]).any(), "somebody has waited"
    again = begin()
    goes_on_alike(pilots, again, generator)
    assert torch.equal(again.world.itinerary.entry_steps, pilots.world.itinerary.entry_steps)


def test_slots_that_are_yet_to_begin_are_empty() -> None:
    """Nobody enters in them before."""
    config = replace(CONFIG, aircraft=8, max_steps=90, scenario="arrivals")
    pilots = Crew(config, 2, EPISODES, VIEW, spread_steps=80)
    rollout = pilots.fly(actor(), 80, torch.Generator().manual_seed(0))
    begins = rollout.is_flying.view(80, EPISODES, 8).any(-1).int().argmax(0)
    assert begins[1] >= 20
    assert begins[2] >= 40
    assert begins[3] >= 60


@pytest.mark.parametrize("aircraft", [4, neighbours.FEW + 8])
def test_losses_of_two_that_hover_are_nobodys(aircraft: int) -> None:
    """Two hover 30 m apart, one flies by at 40 m, one is far away."""
    box = 3000.0 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    places = np.array([[0.0, 0.0], [30.0, 0.0], [15.0, -40.0], [2000.0, 2000.0]])
    layout = Layout(
        box,
        places,
        places + np.array([[0, 0], [0, 0], [0, 900], [0, -900]]),
        hovers=np.array([True, True, False, False]),
    )
    config = replace(CONFIG, aircraft=aircraft, step_s=0.5)
    world = World(config, 0, [0], start=stack([layout], config))
    found = RolloutFigures(world)
    before = world.traffic
    found.add(before, world.step(torch.zeros(1, aircraft, 2)))
    assert (world.pairs.listed is not None) == (aircraft > neighbours.FEW)
    # two pairs in LoS for a step, in which two aircraft fly
    assert found.result()["los_s_per_flight_hour"] == pytest.approx(3600.0)
