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


def listed(*arguments):
    """What the function finds in one episode, without what fills lists up."""
    east, north, is_flying, reach_m, seen = arguments
    made = neighbours(east[None], north[None], is_flying[None], reach_m, seen)[0]
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


def test_compiled_or_not_it_finds_the_same():
    generator = np.random.default_rng(3)
    places = generator.uniform(-500, 500, (2, 3, 40))
    arguments = (*places, generator.random((3, 40)) < 0.8, 120.0, 4)
    np.testing.assert_array_equal(neighbours(*arguments), neighbours.plain(*arguments))
