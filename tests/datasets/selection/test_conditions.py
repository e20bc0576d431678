import numpy as np
import pytest

from skyclone.datasets.errors import ConfigurationError, DatasetError
from skyclone.datasets.selection.conditions import FACTS, Condition, facts_of
from skyclone.datasets.traffic.record import COLUMNS, Table

WORLD = {"protected_zone_m": 100.0}


def by_hand() -> Table:
    """Episode 3: two aircraft, three steps, one ends at its waypoint after two. Episode 4: one, alone, one step."""
    table: Table = {column.name: np.zeros(6, column.dtype) for column in COLUMNS}
    table["episode"][:] = [3, 3, 3, 3, 3, 4]
    table["step"][:] = [0, 0, 1, 1, 2, 0]
    table["aircraft"][:] = [0, 1, 0, 1, 0, 0]
    table["nearest_m"][:] = [150, 150, 90, 90, np.nan, np.nan]
    table["conflicts"][:] = [1, 1, 2, 0, 0, 0]
    table["reward"][:] = [1, 2, 3, 4, 5, -1]
    table["outcome"][:] = [0, 0, 0, 1, 2, 3]
    return table


def test_facts_worked_out_by_hand() -> None:
    facts = facts_of(by_hand(), range(3, 5), WORLD)
    assert list(facts) == list(FACTS)
    assert {name: values.tolist() for name, values in facts.items()} == {
        "rows": [5, 1],
        "steps": [3, 1],
        "aircraft": [2, 1],
        "conflicts": [3, 0],
        "los": [2, 0],
        "nearest_m": [90.0, np.inf],
        "reward": [15.0, -1.0],
        "waypoint": [1, 0],
        "left_sector": [1, 0],
        "time_limit": [0, 1],
    }


def test_who_hovers_is_an_aircraft_but_has_no_rows() -> None:
    table = by_hand()
    for name in ("waypoint_east_m", "waypoint_north_m"):
        table[name][table["aircraft"] == 1] = np.nan
    facts = facts_of(table, range(3, 5), WORLD)
    assert [facts[name][0] for name in ("rows", "aircraft", "conflicts", "los")] == [3, 2, 2, 1]


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("los > 0", [True, False]),
        ("aircraft=2", [True, False]),
        ("reward<=-1", [False, True]),
        ("nearest_m >= 90", [True, True]),
        ("steps != 3", [False, True]),
        ("steps == 3", [True, False]),
        ("rows < 1.5", [False, True]),
    ],
)
def test_conditions(text: str, held: list[bool]) -> None:
    assert Condition.parse(text).holds(facts_of(by_hand(), range(3, 5), WORLD)).tolist() == held


@pytest.mark.parametrize("text", ["los", "los > many", "speed > 3", "los >> 3", "los > 1 or 1", ""])
def test_what_is_no_condition_says_what_there_is(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a condition FACT SIGN NUMBER.*Facts: rows, steps"):
        Condition.parse(text)


def test_a_world_without_a_zone_is_an_error() -> None:
    with pytest.raises(DatasetError, match="expected protected_zone_m among the world's parameters"):
        facts_of(by_hand(), range(3, 5), {})
