from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from skyclone.datasets import spec
from skyclone.datasets.config import Config, config
from skyclone.datasets.errors import ConfigurationError, ObservationError


def fly(
    world: Any,
    margin: float = 1.1,
    times: int = 3,
    order: Literal["near", "far"] = "near",
    dry: bool = False,
    by: str = "",
) -> None:
    """A maker with a parameter of each kind."""


@config
class Sight(Config):
    name: str = "eye"
    range_m: float = Field(default=90.0, gt=0)
    most: int | None = None


MAKERS = {"fly": fly, "untyped": lambda world, gain=2: None, "eye": Sight}


def test_name_and_typed_parameters() -> None:
    assert spec.parse("fly", "thing", MAKERS, skip=1) == ("fly", {})
    text = "fly:margin=2:times=4:order=far:dry=true:by=me=you"
    parameters = {"margin": 2.0, "times": 4, "order": "far", "dry": True, "by": "me=you"}
    assert spec.parse(text, "thing", MAKERS, skip=1) == ("fly", parameters)
    assert spec.parse("untyped:gain=1e-3", "thing", MAKERS, skip=1) == ("untyped", {"gain": 1e-3})
    assert spec.parse("eye:most=8", "thing", MAKERS, skip=1) == ("eye", {"most": 8})
    assert spec.parameters("range_m=3:most=1", "sight", Sight) == {"range_m": 3.0, "most": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fyl:margin=1", r"unknown thing 'fyl'\. There are: fly, untyped, eye\."),
        ("", r"unknown thing ''"),
        ("fly:world=1", r"thing 'fly' has no parameter 'world'\. It has: margin, times, order, dry, by\."),
        (
            "fly:margin",
            r"'fly': expected NAME:key=value:key=value, got 'margin'\. Example: fly:m",
        ),
        ("fly:", r"thing 'fly': expected NAME:key=value:key=value, got ''"),
        ("fly:margin=wide", r"expected a number for margin, got 'wide'\. Example: fly:margin=1\.1$"),
        ("fly:margin=nan", r"expected a number for margin, got nan"),
        ("fly:margin=1e308", r"expected a number for margin, got 1e\+308"),
        ("fly:times=2.5", r"expected a whole number for times, got '2\.5'"),
        ("fly:times=" + "9" * 30, r"expected a whole number for times, got 9{30}"),
        ("fly:times=" + "9" * 5000, r"expected a whole number for times, got '999"),
        (
            "fly:times=2:times=3",
            "thing 'fly': expected times once, got it again in 'times=3'. Leave one of them out",
        ),
        ("fly:order=up", r"expected one of near, far for order, got 'up'"),
        ("fly:dry=perhaps", r"expected true or false for dry, got 'perhaps'"),
        ("eye:name=ear", r"no parameter 'name'\. It has: range_m, most"),
    ],
)
def test_wrong_text(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        spec.parse(text, "thing", MAKERS, skip=1)


def test_values_from_python_are_checked_alike() -> None:
    spec.check({"margin": 2, "times": 3}, "thing 'fly'", fly, skip=1)
    for wrong in ({"margin": "2"}, {"margin": float("nan")}, {"times": True}, {"times": 2**63}, {"by": "\ud800"}):
        with pytest.raises(ObservationError, match=rf"thing 'fly': expected .* for {next(iter(wrong))}, got"):
            spec.check(wrong, "thing 'fly'", fly, skip=1, error=ObservationError)


@given(st.text(st.characters(codec=None), max_size=40), st.sampled_from(["", "fly:", "fly:times=", "eye:range_m="]))
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    try:
        name, parameters = spec.parse(start + text, "thing", MAKERS, skip=1)
    except ConfigurationError:
        return
    spec.check(parameters, name, MAKERS[name], skip=1)


def test_comma_lists() -> None:
    assert spec.comma_list("3, 1,2,", int, "seeds", "0,1") == (3, 1, 2)
    assert spec.comma_list(" ", str, "names", "a,b") == ()
    with pytest.raises(ConfigurationError, match=r"expected seeds such as 0,1, got '1,x'"):
        spec.comma_list("1,x", int, "seeds", "0,1")
