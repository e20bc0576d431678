import json
import pickle
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from skyclone.datasets.config import Config, Count, config, fields_of
from skyclone.datasets.errors import ConfigurationError, ObservationError


def _known(name: str) -> str:
    if name not in ("fix", "vor", "FIX", "VOR"):
        raise ConfigurationError(f"unknown waypoint '{name}'. There are: fix, vor.")
    return name.upper()


@config
class Legs(Config):
    title = "legs"

    length_m: float = Field(default=5.0, gt=0, le=100, description="Of each.")
    wind_mps: float = 0.0


@config
class Flight(Config):
    added = ("note",)

    legs: int = Field(default=3, ge=1, description="How many.", json_schema_extra={"hint": "Use --legs 3."})
    bank: float = Field(default=0.5, ge=0, lt=1)
    seconds: float | None = Field(default=None, gt=0)
    kind: Literal["out", "return"] = "out"
    aircraft: tuple[Count, ...] = ()
    to: Annotated[str, AfterValidator(_known)] = "FIX"
    first: Legs = Field(default_factory=Legs)
    seed: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.seconds is not None and self.seconds < self.legs:
            raise ConfigurationError(f"expected a second for each leg, got {self.seconds}")


def test_a_config_is_a_frozen_dataclass() -> None:
    flight = Flight(legs=4, to="vor", aircraft=(2, 3))
    assert (flight.to, flight.first, flight.bank) == ("VOR", Legs(), 0.5)
    assert replace(flight, legs=1, to="fix") == Flight(1, to="fix", aircraft=(2, 3))
    assert hash(flight) == hash(pickle.loads(pickle.dumps(flight)))
    assert type(Legs(length_m=1).length_m) is float
    with pytest.raises(AttributeError):
        flight.legs = 2  # type: ignore[misc]
    assert fields_of(Flight)["legs"].description == "How many."


def test_json_and_back() -> None:
    flight = Flight(aircraft=(2, 3), to="fix", first=Legs(7.0))
    data = flight.to_json()
    assert "note" not in data
    read = {**json.loads(json.dumps(data)), "to": "fix"}
    assert Flight.from_json(read) == flight
    assert replace(flight, note="x").to_json() == {**asdict(flight), "note": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"legs": 0}, r"^expected legs of 1 or more, got 0\. Use --legs 3\.$"),
        ({"legs": "4"}, r"^expected legs to be a whole number of 1 or more, got '4'"),
        ({"legs": 2.0}, r"^expected legs to be a whole number of 1 or more, got 2\.0"),
        ({"legs": True}, r"^expected legs to be a whole number of 1 or more, got True"),
        ({"legs": 2**63}, r"^expected legs from 1 to 9,223,372,036,854,775,807, got 9223372036854775808"),
        ({"legs": 10**5000}, r"got a number of thousands of digits"),
        ({"seed": -(2**70)}, r"^expected seed of -9,223,372,036,854,775,808 or more, got -118"),
        ({"bank": 1.0}, r"^expected bank of 0 or more and below 1, got 1\.0\.$"),
        ({"bank": float("nan")}, r"^expected bank of 0 or more and below 1, got nan"),
        ({"bank": "steep"}, r"^expected bank to be a number of 0 or more and below 1, got 'steep'"),
        ({"seconds": 0.0}, r"^expected seconds above 0, got 0\.0"),
        ({"seconds": 1e308}, r"^expected seconds above 0 and up to 1e\+12, got 1e\+308"),
        ({"seconds": 2.5}, r"^expected a second for each leg, got 2\.5"),
        ({"kind": "home"}, r"^unknown kind 'home'\. There are: out, return\.$"),
        ({"kind": 3}, r"^unknown kind 3\. There are"),
        ({"aircraft": [2]}, r"^expected aircraft to be a list, each a whole number, got \[2\]"),
        ({"aircraft": (2, 0)}, r"^expected aircraft of 1 or more, got 0"),
        ({"to": "ndb"}, r"unknown waypoint 'ndb'"),
        ({"to": None}, r"^expected to to be text, got None"),
        ({"to": "\ud800"}, r"^expected to to be text, got '\\ud800'"),
        ({"first": {"length_m": 3}}, r"^expected first to be a Legs, got {'length_m': 3}"),
        ({"gusts": 3}, r"^configuration of a run: no parameter 'gusts'\. There are: legs, bank, "),
    ],
)
def test_wrong_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Flight(**change)
    with pytest.raises(ConfigurationError, match=message):
        replace(Flight(to="fix"), **change)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"configuration of a run: expected a JSON object, got \[\]"),
        ({"first": {}}, r"missing keys \['aircraft', .*'to'\], unknown keys none\. There are: legs, bank"),
        (
            {**Flight(to="fix").to_json(), "to": "fix", "x": 1},
            r"missing keys none, unknown keys \['x'\]",
        ),
        (
            {**Flight(to="fix").to_json(), "to": "fix", "first": {}},
            r"legs: missing keys \['length_m', 'w",
        ),
        ({**Flight(to="fix").to_json(), "to": "fix", "first": 3}, r"legs: expected a JSON object, got 3"),
    ],
)
def test_wrong_json(data: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Flight.from_json(data)


def test_the_class_says_which_error() -> None:
    @config
    class Sight(Config):
        error = ObservationError
        range_m: float = Field(gt=0)

    with pytest.raises(ObservationError, match="expected range_m above 0, got -1"):
        Sight(-1.0)
    with pytest.raises(ObservationError, match="expected range_m, which is missing"):
        Sight()  # type: ignore[call-arg]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.just(10**400),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.data(), JSON)
def test_any_json_value_makes_a_config_or_our_error(data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from(list(fields_of(Flight))))
    whole = {**Flight(to="fix").to_json(), "to": "fix", "note": "", name: value}
    try:
        made = Flight.from_json(whole)
    except ConfigurationError:
        return
    json.dumps(made.to_json(), allow_nan=False, ensure_ascii=False).encode()
