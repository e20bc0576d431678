import numpy as np
import pytest

from skyclone.collect.arithmetic.neighbours import neighbours


def brute(east, north, is_flying, reach_m, seen, slack=1.0):
    """The same by all pairs: the numbers that each list must hold; with slack, those that it may."""
    lists = []
    for a in range(len(east)):
        others = [b for b in range(len(east)) if b != a and is_flying[a] and is_flying[b]]
        square = {b: (east[b] - east[a]) ** 2 + (north[b] - north[a]) ** 2 for b in others}
        farthest = sorted(square.values())[:seen][-1:] or [0.0]
        limit = max(reach_m**2, farthest[0]) * slack
        lists.append([b for b in others if square[b] <= limit])
    return lists


def listed(east, north, is_flying, reach_m, seen):
    """What the function finds within reach in one episode, without what fills lists up."""
    state = np.stack((east, north, np.zeros_like(east), np.zeros_like(east)))
    made = neighbours(state[None], is_flying[None], 0.0, 0.0, reach_m, True, seen)[0]
    lists = []
    for a, row in enumerate(made.tolist()):
        size = row.index(a) if a in row else len(row)
        while size < len(row) and any(number != a for number in row[size:]):  # its place is among lower numbers
            size += 1
        assert row[size:] == [a] * (len(row) - size)
        assert len(row) > max(size, min(seen, len(row) - 1))
        lists.append(row[:size])
    return lists


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("reach_m", "seen"), [(0.0, 3), (150.0, 0), (150.0, 5), (1e9, 0), (np.inf, 1), (40.0, 60)])
def test_those_in_reach_and_the_nearest_are_listed(seed, reach_m, seen):
    generator = np.random.default_rng(seed)
    count = [1, 2, 30, 70, 120, 120][seed]
    east, north = generator.uniform(-900, 900, (2, count))
    if seed == 5:  # a cluster, one far away, some in one place
        east[:40], north[:40] = east[:40] * 0.02, north[:40] * 0.02
        east[40], north[41:44], east[41:44] = 1e6, 7.0, 9.0
    is_flying = generator.random(count) < 0.9
    arguments = (east, north, is_flying, reach_m, seen)
    for found, must, may in zip(listed(*arguments), brute(*arguments), brute(*arguments, 1.0001), strict=True):
        assert set(must) <= set(found) <= set(may)
        assert found == sorted(found)


def test_ties_are_all_listed():
    east = np.array([0.0, 5.0, -5.0, 0.0, 0.0, 100.0])
    north = np.array([0.0, 0.0, 0.0, 5.0, -5.0, 0.0])
    assert listed(east, north, np.ones(6, bool), 0.0, 1)[0] == [1, 2, 3, 4]


def test_who_is_nowhere_is_in_no_list():
    east, north = np.array([0.0, np.nan, 10.0, np.inf]), np.array([0.0, 0.0, 10.0, 0.0])
    assert listed(east, north, np.ones(4, bool), 50.0, 3) == [[2], [], [0], []]


def test_those_are_listed_that_will_be_met():
    east = np.array([0.0, 300.0, 300.0, 290.0, -300.0, 120.0])
    north = np.array([0.0, 0.0, 20.0, -150.0, 0.0, 0.0])
    velocity_east = np.array([10.0, -10.0, 40.0, -10.0, -10.0, 10.0])  # it: meets, leaves, passes by, leaves, keeps
    state = np.stack((east, north, velocity_east, np.zeros(6)))[None]
    made = neighbours(state, np.ones((1, 6), bool), 100.0, 15.0, 1600.0, False, 0)
    assert set(made[0, 0].tolist()) == {0, 1}
    made = neighbours(state, np.ones((1, 6), bool), 100.0, 9.9, 1600.0, False, 0)  # one second too late
    assert set(made[0, 0].tolist()) == {0}


def test_compiled_or_not_it_finds_the_same():
    generator = np.random.default_rng(3)
    state = generator.uniform(-500, 500, (3, 4, 40))
    arguments = (state, generator.random((3, 40)) < 0.8, 100.0, 0.2, 200.0, False, 4)
    np.testing.assert_array_equal(neighbours(*arguments), neighbours.plain(*arguments))
