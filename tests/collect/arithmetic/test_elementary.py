"""The polynomials, against 60 digits and in closed form."""

import ast
import math
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest

from skyclone.collect.arithmetic import compiling
from skyclone.collect.arithmetic.elementary import PI, TWO_PI, arctangent, logarithm, sine_cosine, wrap
from skyclone.collect.arithmetic.geometry import bearings, directions


def error_ulp(found: float, true: mpmath.mpf) -> float:
    """Return an error in units in the last place of the true value."""
    return float(abs(mpmath.mpf(found) - true) / mpmath.mpf(math.ulp(float(true))))


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


ROOT = Path(compiling.__file__).parents[2]
NOT_OURS = re.compile(
    "a?(sin|cos|tan)h?|atan2|arc(sin|cos|tan)2?|hypot|exp|expm1|log(2|10|1p)?|pow|power|cbrt|dot|matmul|einsum|linalg"
)
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
        assert error_ulp(logarithm(x), mpmath.log(x)) < 1.0, x
    assert logarithm(1.0) == 0.0


def test_closed_forms():
    assert sine_cosine(0.0) == (0.0, 1.0)
    assert bearings(np.array([0.0, 1.0, -1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, -1.0, 0.0])).tolist() == [
        0.0,
        PI / 2,
        -PI / 2,
        PI,
        0.0,
    ]
    assert [wrap(angle) for angle in (PI, -PI, 1.0)] == [-PI, -PI, 1.0]


def test_any_angle_is_wrapped_and_those_within_one_and_a_half_turns_by_one_subtraction():
    for angle in np.random.default_rng(4).uniform(-3 * PI, 3 * PI, 2000).tolist():
        once = angle - TWO_PI if angle >= PI else angle + TWO_PI if angle < -PI else angle
        assert wrap(angle) == once
    many = [
        *ANGLES,
        1e300,
        -1e300,
        *(k * PI for k in range(-20, 21)),
        math.nextafter(3 * PI, 4),
        3.5 * PI,
        -3.5 * PI,
    ]
    for angle in many:
        assert -PI <= wrap(angle) < PI, angle
    for angle in ANGLES:  # the double nearest 2 pi is 2e-16 off
        assert math.cos(wrap(angle)) == pytest.approx(math.cos(angle), abs=1e-9), angle
        assert math.sin(wrap(angle)) == pytest.approx(math.sin(angle), abs=1e-9), angle


@pytest.mark.skipif(bool(compiling.why_not()), reason="nothing is compiled here")
def test_compiled_and_plain_python_give_the_same_bits():
    angles = np.array(ANGLES)
    made = directions(angles)
    assert made[:, ::-1].tolist() == [list(sine_cosine(angle)) for angle in ANGLES]
    assert bearings(made[:, 0], made[:, 1]).tolist() == [arctangent(*row) for row in made.tolist()]


def test_no_layout_and_no_kernel_calls_the_library_s_functions():
    """They, and powers, give other bits on other processors or with another C library."""
    folders = ("collect/arithmetic", "collect/kernels", "collect/scenarios")
    paths = [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]
    paths += [
        ROOT / "collect/airspace" / name for name in ("geodesy.py", "hull.py", "sector.py", "world_config.py")
    ]
    paths += [ROOT / "collect/flying/compiled.py", ROOT / "collect/flying/encounters.py"]
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_whole = isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant)
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not is_whole:
                found.append(f"{path.name}:{node.lineno} **")
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("np", "math"):
                found += [f"{path.name}:{node.lineno} {node.attr}"] * bool(NOT_OURS.fullmatch(node.attr))
            if isinstance(node, ast.ImportFrom) and node.module == "math":
                found += [f"{path.name} {each.name}" for each in node.names if NOT_OURS.fullmatch(each.name)]
    assert found == []
