"""A small flight, for the tests of each format."""

from datetime import UTC, datetime

import numpy as np
import pytest

from skyclone.collect.exports.flight import Flight, Track


@pytest.fixture
def two() -> Flight:
    """Two aircraft, one of which enters two seconds later."""
    zero, places = np.zeros(2), np.array([[52.0, 4.0 + i / 10] for i in range(3)])
    rest = (places, np.full(3, 90.0), np.full(3, 9.0), zero, zero)
    tracks = tuple(Track(n, f"SC{n:03d}", "M600", np.arange(3.0) + 2 * n, *rest) for n in range(2))
    return Flight("two", datetime(2026, 3, 1, 12, tzinfo=UTC), 1.0, 100.0, 30.0, tracks)
