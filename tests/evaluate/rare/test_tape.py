import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios.registry import lay_out_by, names
from skyclone.evaluate.rare.tape import Tape

SCENARIOS = [*(name for name in names() if name != "mix"), "mix:sector=1:pads=1"]


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_tape_lays_out_the_same_again(scenario):
    tape, world = Tape(generator(1)), WorldConfig(aircraft=6, scenario=scenario)
    first, again = lay_out_by(world, tape.stream), lay_out_by(world, tape.stream)
    np.testing.assert_array_equal(first.position_m, again.position_m)
    np.testing.assert_array_equal(first.waypoint_m, again.waypoint_m)
    moved = lay_out_by(world, tape.moved(generator(2)).stream)
    assert len(moved.waypoint_m) <= 6
    np.testing.assert_array_equal(lay_out_by(world, tape.stream).position_m, first.position_m)  # left as it is


def test_moves_leave_numbers_uniform():
    """After many moves from uniform numbers they are uniform still, and no longer the same."""
    tape = Tape(generator(3))
    first = tape.read((0, (4000,), 0)).copy()
    generator_of_moves = generator(4)
    for _ in range(30):
        tape = tape.moved(generator_of_moves)
    numbers = tape.numbers[0, (4000,), 0]
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts = np.bincount((10 * numbers).astype(int), minlength=10)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-square, 9 degrees of freedom, 1 in 1,000
    assert (np.abs(numbers - first) > 0.1).mean() > 0.3


def test_moves_are_symmetric():
    """From the same number as many moves go up as down, round the circle."""
    steps = np.concatenate(
        [
            Tape(generator(5), {(0, (50,), 0): np.full(50, 0.5)}).moved(generator(6 + n)).numbers[0, (50,), 0] - 0.5
            for n in range(200)
        ]
    )
    steps = steps[steps != 0]
    assert abs((steps > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(steps))


def test_whole_numbers():
    tape = Tape(generator(7))
    drawn = [tape.moved(generator(n)).stream(0).integers(2, 5) for n in range(300)]
    assert set(drawn) == {2, 3, 4}
