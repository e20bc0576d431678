"""The polynomials, against 60 digits and in closed form."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from skyclone.collect.arithmetic import compiling
from skyclone.collect.arithmetic.elementary import PI, arctangent, logarithm, sine_cosine, wrap
from skyclone.collect.arithmetic.geometry import bearings, directions


def plain(function: Callable) -> Callable:
    """Return a kernel's function as Python runs it."""
    return getattr(function, "py_func", function)


def error_ulp(found: float, true: mpmath.mpf) -> float:
    """Return an error in units in the last place of the true value."""
    return float(abs(mpmath.mpf(found) - true) / mpmath.mpf(math.ulp(float(true))))


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


ANGLES = [
    *np.random.default_rng(0).uniform(-10, 10, 1000).tolist(),
    *np.random.default_rng(1).uniform(-1e6, 1e6, 300).tolist(),
    *[k * math.pi / 4 for k in range(-400, 401) if k],  # as near to multiples of pi/4 as float64 comes
]


def test_sine_and_cosine_are_within_one_unit_in_the_last_place():
    made = directions(np.array(ANGLES))
    for angle, (cosine, sine) in zip(ANGLES, made.tolist(), strict=True):
        assert error_ulp(sine, mpmath.sin(angle)) < 1.0, angle
        assert error_ulp(cosine, mpmath.cos(angle)) < 1.0, angle


def test_arctangent_is_within_one_and_a_half_units_in_the_last_place():
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(2000, 2)) * 10 ** generator.uniform(-4, 4, (2000, 2))
    vectors = np.concatenate((vectors, [[y, x] for y in (-1.0, 1.0) for x in (7 / 16, 11 / 16, 19 / 16, 39 / 16)]))
    found = bearings(vectors[:, 0].copy(), vectors[:, 1].copy())
    for (y, x), angle in zip(vectors.tolist(), found.tolist(), strict=True):
        assert error_ulp(angle, mpmath.atan2(y, x)) < 1.5, (y, x)


def test_logarithm_is_within_one_unit_in_the_last_place():
    for x in [*np.random.default_rng(3).uniform(0, 1, 1000).tolist(), *[2.0**-k for k in range(1, 54)], 1 - 2**-53]:
        assert error_ulp(plain(logarithm)(x), mpmath.log(x)) < 1.0, x
    assert plain(logarithm)(1.0) == 0.0


def test_closed_forms():
    assert plain(sine_cosine)(0.0) == (0.0, 1.0)
    assert bearings(np.array([0.0, 1.0, -1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, -1.0, 0.0])).tolist() == [
        0.0,
        PI / 2,
        -PI / 2,
        PI,
        0.0,
    ]
    assert [plain(wrap)(angle) for angle in (PI, -PI, 1.0)] == [-PI, -PI, 1.0]


@pytest.mark.skipif(bool(compiling.REASON), reason="nothing is compiled here")
def test_compiled_and_plain_python_give_the_same_bits():
    angles = np.array(ANGLES)
    made = directions(angles)
    assert made[:, ::-1].tolist() == [list(plain(sine_cosine)(angle)) for angle in ANGLES]
    assert bearings(made[:, 0], made[:, 1]).tolist() == [plain(arctangent)(*row) for row in made.tolist()]
