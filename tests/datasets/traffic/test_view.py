import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.errors import ObservationError
from skyclone.datasets.traffic.view import BOUND, INTRUDER_FEATURES, OF_WORLD, View, scale_of

ENROUTE = {
    "aircraft": 20,
    "sector_radius_m": 185_200.0,
    "max_speed_mps": 236.0,
    "protected_zone_m": 9260.0,
    "lookahead_s": 300.0,
}
NUMBERS = st.floats(1e-3, 1e6)
SCALES = st.dictionaries(st.sampled_from([*OF_WORLD]), NUMBERS)


def test_a_world_gives_its_views_their_numbers() -> None:
    view = View.parse("ego:intruders=8", scale_of(ENROUTE))
    assert view == View("ego", 8, 185_200.0, 236.0, 9260.0, 300.0)
    assert View.parse("cpa:length_m=935", scale_of(ENROUTE)).length_m == 935.0  # what is given holds
    assert View.parse("seed", scale_of({})) == View.parse("seed") == View()
    assert View.parse("ego:intruders=3", View("seed", 9, 7.0, bound=3.0).scale) == View("ego", 3, 7.0, bound=3.0)


def test_a_text_that_holds_in_a_world_and_without_it() -> None:
    scale = scale_of(ENROUTE)
    assert View("ego", 8).text({}) == "ego:intruders=8"
    assert View("ego", 8).text(scale) == (
        "ego:intruders=8:length_m=935.0:speed_mps=18.0:protected_zone_m=100.0:lookahead_s=15.0"
    )


@given(
    name=st.sampled_from([*INTRUDER_FEATURES]),
    intruders=st.none() | st.integers(1, 99),
    numbers=st.lists(NUMBERS, max_size=5),
    scale=SCALES,
)
def test_text_goes_back_and_forth_in_every_world(
    name: str, intruders: int | None, numbers: list[float], scale: dict[str, float]
) -> None:
    view = View(name, intruders, *numbers)
    assert View.parse(view.text(scale), scale) == view
    assert View.parse(view.text(scale)) == view
    assert View.canonical(view.text(scale)) == view.text(scale)


def test_a_canonical_text_says_what_was_said() -> None:
    assert View.canonical("ego:length_m=935:intruders=8") == "ego:intruders=8:length_m=935.0"
    assert View.canonical("seed") == "seed"
    with pytest.raises(ObservationError, match="unknown observation 'eco'"):
        View.canonical("eco")


def test_views_stored_without_a_bound_are_bound_by_nothing_in_their_world() -> None:
    old = View("ego", 8).to_json()
    del old["bound"]
    assert View.stored(old, None).bound == View.stored(old, {"sector_radius_m": 935.0}).bound == BOUND
    assert View.stored(old, ENROUTE).bound == pytest.approx(BOUND * 185_200 / 935)
    assert View.stored({**old, "bound": 3.0}, ENROUTE).bound == 3.0
    with pytest.raises(ObservationError, match="expected a JSON object, got 3"):
        View.stored(3, None)
