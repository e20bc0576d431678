"""Who is stuck is taken out of training, after as long as it says, and nobody else."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.view import View
from skyclone.train.finetuning.ppo import Actor
from skyclone.train.finetuning.rollout import Crew
from skyclone.train.finetuning.stranded import LOS_S, STANDING_S, Stranded

CONFIG = WorldConfig(aircraft=3, reward="detour")
VIEW = View("ego", intruders=2)
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
    steps: int, places: Sequence[Place], speed_mps: float | Sequence[float], step_s: float = 1.0
) -> list[bool]:
    """Who of one episode still flies after some steps in the same places."""
    world = World(WorldConfig(aircraft=3, step_s=step_s), 0, range(1))
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
        assert all(torch.equal(one, other) for one, other in zip(world.pairs, expected))
    found: list[bool] = world.traffic.is_flying[0].tolist()
    return found


@pytest.mark.parametrize(
    ("places", "speed_mps", "seconds", "stuck"),
    [
        (CLOSE, 9.0, LOS_S, [1, 2]),
        (APART, [9.0, 0.0, 0.5], STANDING_S, [1, 2]),
        (APART, [9.0, 9.0, 0.89], 20.0, [2]),
    ],
)
@pytest.mark.parametrize("step_s", [1.0, 2.0])
def test_taken_out_after_so_many_seconds_and_not_before(
    places: list[Place], speed_mps: float, seconds: float, stuck: list[int], step_s: float
) -> None:
    steps = round(seconds / step_s)
    assert flying_after(steps - 1, places, speed_mps, step_s) == [True] * 3
    assert flying_after(steps, places, speed_mps, step_s) == [place not in stuck for place in range(3)]


def test_flying_and_slow_flight_are_no_reason() -> None:
    assert flying_after(300, APART, [9.0, 0.91, 18.0]) == [True] * 3


def test_a_break_begins_anew() -> None:
    world = World(CONFIG, 0, range(2))
    stranded = Stranded(world)
    for seconds in range(60):
        put(world, APART if seconds % 10 == 9 else CLOSE)
        assert not stranded.take_out().any()
    for seconds in range(60):
        put(world, APART, 0.0 if seconds % 20 else 9.0)
        assert not stranded.take_out().any()


def test_what_was_counted_is_saved() -> None:
    world, other = World(CONFIG, 0, range(2)), World(CONFIG, 0, range(2))
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
    crew = Crew(CONFIG, 0, 2, VIEW, spread_steps=0)
    put(crew.world, [(-400, -300), (0, -300), (50, -300)])
    crew.world.traffic.waypoint_north_m[:] = 900.0
    rollout = crew.fly(Actor(Straight(), -20.0), 14, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    truncated = rollout.is_truncated.view(14, 2, 3)
    flying = rollout.is_flying.view(14, 2, 3)
    assert truncated.nonzero().tolist() == [[9, 0, 1], [9, 0, 2], [9, 1, 1], [9, 1, 2]]
    assert flying[:10].all()
    assert flying[10:, :, 0].all()
    assert not flying[10:, :, 1:].any()
    assert not rollout.is_terminated.any()
    final = rollout.final_observation
    assert final.is_present.tolist() == [[True, True]] * 4, "each still sees the other two"
    zone = CONFIG.protected_zone_m
    assert (final.intruders[:, 0, 0] * VIEW.length_m < zone).all()
    last = rollout.last_observation
    assert last.is_present.tolist() == [[False, False]] * 2, "who is left is alone"
    assert rollout.figures["stranded_rate"] == 1.0
    assert crew.world.traffic.is_flying.tolist() == [[True, False, False]] * 2
    assert int((rollout.is_flying & rollout.is_truncated).sum()) == 4
