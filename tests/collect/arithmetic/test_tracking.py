"""Kalman filters, held against conditioning all of a Gaussian at once."""

import numpy as np
import pytest

from skyclone.collect.arithmetic.links import NEVER, tracks
from skyclone.collect.arithmetic.tracking import COVARIANCES, begin_own, follow, follow_own

AT = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)]
"""Which covariance is where."""
KEYS = np.array([[3, 4]], np.int64)


def full(covariances: np.ndarray) -> np.ndarray:
    """The covariances (10,) as a matrix."""
    made = np.zeros((4, 4))
    for (row, column), value in zip(AT, covariances, strict=True):
        made[row, column] = made[column, row] = value
    return made


def posterior(gaps, told, position: float, velocity: float, kept: float, change: float, step_s: float):
    """What is known after some messages of one axis, from the joint distribution of all states and messages.

    Args:
        gaps: Steps between messages.
        told: (K, 2) the messages.

    Returns:
        Mean (4,) and covariance (4, 4) of the last p, v, e, f.
    """
    count, wide = len(told), 1e8  # at first anything may be
    mean, cov = np.zeros(4 * count), np.zeros((4 * count, 4 * count))
    cov[:4, :4] = np.diag([wide, wide, position, velocity])
    for k, gap in enumerate(gaps, start=1):
        t, left = gap * step_s, kept**gap
        F = np.array([[1, t, 0, 0], [0, 1, 0, 0], [0, 0, left, 0], [0, 0, 0, left]], float)
        Q = np.zeros((4, 4))
        Q[:2, :2] = change * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
        Q[2, 2], Q[3, 3] = (1 - left**2) * position, (1 - left**2) * velocity
        now, before = slice(4 * k, 4 * k + 4), slice(4 * k - 4, 4 * k)
        cov[now, : 4 * k] = F @ cov[before, : 4 * k]
        cov[: 4 * k, now] = cov[now, : 4 * k].T
        cov[now, now] = F @ cov[before, before] @ F.T + Q
    H = np.kron(np.eye(count), np.array([[1, 0, 1, 0], [0, 1, 0, 1]], float))
    gain = np.linalg.solve(H @ cov @ H.T, H @ cov).T
    mean = gain @ told.ravel()
    cov = cov - gain @ H @ cov
    return mean[-4:], cov[-4:, -4:]


def followed(gaps, told: np.ndarray, *model: float):
    """The same of a link, message by message; told is (K, 4), two axes."""
    tracks, covariances = np.zeros((1, 2, 2, 2, 4)), np.zeros((1, 2, 2, COVARIANCES))
    stamps, heard = np.full((2, 1, 2, 2), NEVER, np.int64)
    estimates, step = np.zeros((3, 1, 2, 4), np.float32), 5
    for k, message in enumerate(told):
        step += gaps[k - 1] if k else 0
        heard[0, 0, 1] = step
        estimates[step % 3, 0, 1] = message
        # looked at a step after it was sent, in a ring of three
        follow(tracks, covariances, stamps, heard, np.array([step + 1]), estimates, (step + 1) % 3, *model)
    assert stamps[0, 0, 1] == step
    assert not covariances[0, 1].any(), "nobody else heard anything"
    return tracks[0, 0, 1], full(covariances[0, 0, 1])


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
@pytest.mark.parametrize("change", [0.0, 1.0])
def test_a_track_is_what_all_its_messages_say_together(kept: float, change: float) -> None:
    gaps, random = [1, 1, 2, 1, 5, 1, 3], np.random.default_rng(2)
    told = random.normal(0.0, 10.0, (8, 4)).astype(np.float32).astype(float)
    model = (25.0, 0.25, kept, change)
    track, covariance = followed(gaps, told, *model[:3], 0.5, change)
    for axis in range(2):
        mean, expected = posterior(gaps, told[:, axis::2], *model, 0.5)
        np.testing.assert_allclose(track[axis], mean, rtol=0, atol=2e-3)
        np.testing.assert_allclose(covariance, expected, rtol=1e-3, atol=2e-4)


def test_of_straight_flight_and_passing_errors_it_is_the_straight_line_of_least_squares() -> None:
    # positions alone, K of them: var(p) = 2 (2 K - 1) / (K (K + 1)) sigma^2 at the last one, and
    # var(v) = 12 / (K (K^2 - 1)) sigma^2 / dt^2 (Bar-Shalom, Li, Kirubarajan 2001, section 3.5)
    for count in (2, 5, 20):
        told = np.zeros((count, 4))
        _, covariance = followed([1] * (count - 1), told, 25.0, 1e6, 0.0, 2.0, 0.0)
        assert covariance[0, 0] == pytest.approx(25.0 * 2 * (2 * count - 1) / (count * (count + 1)), rel=1e-3)
        assert covariance[1, 1] == pytest.approx(25.0 * 12 / (count * (count**2 - 1)) / 4.0, rel=1e-3)


def test_an_error_that_stays_is_not_averaged_away_but_what_changes_is_told_from_it() -> None:
    gaps = [1] * 200
    _, passing = followed(gaps, np.zeros((201, 4)), 25.0, 0.25, 0.0, 1.0, 0.1)
    _, staying = followed(gaps, np.zeros((201, 4)), 25.0, 0.25, 0.9999, 1.0, 0.1)
    assert passing[0, 0] < 5.0
    assert staying[0, 0] > 20.0
    assert staying[1, 1] < 0.05, "positions that share an error still tell the velocity"


@pytest.mark.parametrize("kept", [0.0, 0.95])
@pytest.mark.parametrize("gnss", ["always", "lost"])
def test_an_aircraft_is_as_sure_of_itself_as_it_may_be(kept: float, gnss: str) -> None:
    aircraft, random = 4000, np.random.default_rng(5)
    scale = np.array([5.0, 5.0, 0.5, 0.5])
    own, covariances = np.zeros((1, aircraft, 2, 4)), np.zeros((1, aircraft, COVARIANCES))
    drawn = random.standard_normal((1, aircraft, 4))
    begin_own(own, covariances, np.ones((1, aircraft), bool), scale * drawn, 25.0, 0.25)
    for step in range(1, 40):
        drawn = kept * drawn + np.sqrt(1 - kept**2) * random.standard_normal(drawn.shape)
        has_gnss = np.full((1, aircraft), gnss == "always" or not 15 <= step < 30)
        model = (25.0, 0.25, kept, 1.0, 0.1)
        follow_own(own, covariances, KEYS, np.array([step]), has_gnss, scale * drawn, *model)
        if step in (1, 14, 29, 39):
            errors = own[0].copy()
            errors[..., 2] -= scale[0] * drawn[0, :, :2]  # what it takes for them, less what they are
            errors[..., 3] -= scale[2] * drawn[0, :, 2:]
            expected = full(covariances[0, 0])
            found = np.einsum("nai,naj->ij", errors, errors) / (2 * aircraft)
            spread = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) + expected**2) / np.sqrt(2 * aircraft)
            assert (np.abs(found - expected) < 5 * spread + 1e-5).all(), step
    better = expected[0, 0] < 25.0 and expected[1, 1] < 0.25
    assert better


def test_compiled_and_plain_are_the_same_bits() -> None:
    random = np.random.default_rng(1)
    heard = random.integers(3, 6, (1, 3, 3))
    estimates = random.normal(0, 100, (4, 1, 3, 4)).astype(np.float32)
    own_is, flying = np.arange(12.0).reshape(1, 3, 4), np.ones((1, 3), bool)
    made = []
    for plain in (False, True):
        functions = [each.plain if plain else each for each in (begin_own, follow_own, follow, tracks)]
        own, own_covariances = np.zeros((1, 3, 2, 4)), np.zeros((1, 3, COVARIANCES))
        states, covariances = np.zeros((1, 3, 3, 2, 4)), np.zeros((1, 3, 3, COVARIANCES))
        stamps = np.full((1, 3, 3), NEVER, np.int64)
        functions[0](own, own_covariances, np.array([[True, False, True]]), np.ones((1, 3, 4)), 25.0, 0.25)
        for step in (6, 7):
            has_gnss = np.array([[True, True, step == 6]])
            functions[1](own, own_covariances, KEYS, np.array([step]), has_gnss, np.ones((1, 3, 4)), 25.0, 0.25,
                         0.7, 1.0, 0.1)  # fmt: skip
            functions[2](states, covariances, stamps, heard + step - 6, np.array([step]), estimates, step % 4, 25.0,
                         0.25, 0.7, 1.0, 1.0)  # fmt: skip
        found = functions[3](heard + 1, np.array([7]), flying, own_is, estimates, 3, states, 1.0)
        made.append((own, own_covariances, states, covariances, stamps, *found))
    for one, two in zip(*made, strict=True):
        assert np.array_equal(one, two)
    assert made[0][-2].any()
