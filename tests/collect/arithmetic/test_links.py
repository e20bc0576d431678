"""Links: the compiled draws and their plain forms are the same numbers."""

import numpy as np

from skyclone.collect.arithmetic.links import BEFORE, NEVER, listen, next_errors, senders, tracks

KEYS = np.array([[3, 4], [5, 6]], np.int64)


def test_compiled_and_plain_are_the_same_bits() -> None:
    steps, before = np.array([2, 9]), np.zeros((2, 4, 4))
    errors = next_errors(KEYS, steps, before, 0.5)
    assert np.array_equal(errors, next_errors.plain(KEYS, steps, before, 0.5))
    assert np.array_equal(senders(KEYS, 4), senders.plain(KEYS, 4))
    estimates = np.stack([np.float32(lag + errors) for lag in range(6)])
    rest = (
        np.stack((KEYS,) * 6),
        steps,
        np.ones((2, 4), bool),
        senders(KEYS, 4)[..., 0],
        estimates,
        4,
        0.7,
        1.3,
        0.5,
        0.6,
        5.0,
    )
    heard, plain = (np.full((2, 4, 4), NEVER, np.int64) for _ in range(2))
    listen(heard, *rest)
    listen.plain(plain, *rest)
    assert np.array_equal(heard, plain)
    assert 0 < (heard > NEVER).sum() < 24  # of 2 times 12 links
    own, unfiltered = estimates[4].astype(np.float64), np.zeros((0, 0, 0, 2, 4))
    drawn = (heard, steps, np.ones((2, 4), bool), own, estimates, 4, unfiltered, 1.0)
    for made, expected in zip(tracks(*drawn), tracks.plain(*drawn), strict=True):
        assert np.array_equal(made, expected)


def test_errors_are_normal_and_correlated_as_asked() -> None:
    kept, series, errors = 0.9, [], np.zeros((2, 500, 4))
    for step in range(300):
        errors = next_errors(KEYS, np.full(2, step - BEFORE), errors, kept if step else 0.0)
        series.append(errors)
    drawn = np.stack(series)
    assert np.abs(drawn.mean((0, 1, 2))).max() < 0.03
    assert np.abs(drawn.std((0, 1, 2)) - 1.0).max() < 0.03
    assert np.abs((drawn[1:] * drawn[:-1]).mean((0, 1, 2)) - kept).max() < 0.03
    assert np.abs((drawn[5:] * drawn[:-5]).mean((0, 1, 2)) - kept**5).max() < 0.03
    assert np.abs(np.corrcoef(drawn.reshape(-1, 4).T) - np.eye(4)).max() < 0.03
