import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace.conflicts import detect, find
from skyclone.datasets.errors import ObservationError
from skyclone.datasets.traffic.observation import Observation, observe, observe_all
from skyclone.datasets.traffic.pairs import pairs_of, pairs_of_rows
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import FEATURE_NAMES, View

NAMES = ("seed", "ego", "cpa")


def traffic_of(rows, flying=None, dtype=torch.float32):
    """(1, N) traffic of rows (east, north, track in degrees, speed, waypoint east, waypoint north)."""
    columns = list(torch.tensor(rows, dtype=dtype).T.unsqueeze(1))
    columns[2] = torch.deg2rad(columns[2])
    return Traffic(*columns, torch.tensor([flying or [True] * len(rows)]))


def random_traffic(seed, batch=4, aircraft=9, dtype=torch.float64, ended=0.2):
    generator = torch.Generator().manual_seed(seed)
    east, north, waypoint_east, waypoint_north = 1800 * torch.rand((4, batch, aircraft), generator=generator) - 900
    track, speed = torch.rand((2, batch, aircraft), generator=generator)
    is_flying = torch.rand((batch, aircraft), generator=generator) > ended
    state = (east, north, 2 * math.pi * (track - 0.5), 1 + 17 * speed, waypoint_east, waypoint_north)
    return Traffic(*(values.to(dtype) for values in state), is_flying)


def transformed(traffic, angle, east=0.0, north=0.0):
    """The same traffic turned by an angle clockwise around the centre, then moved."""
    sine, cosine = math.sin(angle), math.cos(angle)
    return Traffic(
        traffic.east_m * cosine + traffic.north_m * sine + east,
        traffic.north_m * cosine - traffic.east_m * sine + north,
        traffic.track_rad + angle,
        traffic.speed_mps,
        traffic.waypoint_east_m * cosine + traffic.waypoint_north_m * sine + east,
        traffic.waypoint_north_m * cosine - traffic.waypoint_east_m * sine + north,
        traffic.is_flying,
    )


# --- worked out on paper ---


def test_the_seed_layout():
    # flying north-east at 9 m/s towards a waypoint straight north: the drift is 45 deg
    rows = [(187, -374, 45, 9, 187, 500), (187 + 93.5, -374, 180, 18, 0, 0), (187, -374 + 46.75, 90, 4.5, 0, 0)]
    seen = observe_all(traffic_of(rows), View())
    root = math.sqrt(0.5)
    assert seen.ownship[0, 0].tolist() == pytest.approx(
        [root, root, 0.5, 0.2, -0.4, 0.5 * root, 0.5 * root], abs=1e-6
    )
    first, second = seen.intruders[0, 0].tolist()
    assert first == pytest.approx([0.05, 0, 0.05, 0.25 - 0.5 * root, -0.5 * root], abs=1e-6)  # the nearer one
    assert second == pytest.approx([0.1, 0.1, 0, -0.5 * root, -1 - 0.5 * root], abs=1e-6)
    assert seen.is_present[0, 0].tolist() == [True, True]


def test_the_ego_layout():
    # flying east: east is ahead, south is to the right; an intruder 100 m ahead and 50 m to the left comes head-on
    rows = [(100, 200, 90, 9, 300, 100), (200, 250, 270, 9, 0, 0)]
    seen = observe_all(traffic_of(rows), View("ego", length_m=100, speed_mps=9, bound=9.0))
    drift = math.pi / 2 - math.atan2(200, -100)
    own = [math.cos(drift), math.sin(drift), 1, 2, -1, 1, 2]  # the centre is 200 m to the right, 100 m behind
    assert seen.ownship[0, 0].tolist() == pytest.approx(own, abs=1e-5)
    assert seen.intruders[0, 0, 0].tolist() == pytest.approx([math.hypot(1, 0.5), -0.5, 1, 0, -2], abs=1e-5)


def test_the_cpa_layout():
    # head-on, 30 m beside, 180 m ahead, closing at 18 m/s: tcpa 10 s, dcpa 30 m
    rows = [(0, 0, 0, 9, 0, 500), (30, 180, 180, 9, 0, 0), (800, 0, 90, 9, 0, 0)]
    seen = observe_all(traffic_of(rows), View("cpa", length_m=100, speed_mps=9))
    tcpa, dcpa, closing, in_conflict = seen.intruders[0, 0, 0, 5:].tolist()
    assert tcpa == pytest.approx(10 / 15)
    assert dcpa == pytest.approx(0.3)
    assert closing == pytest.approx(18 * 180 / math.hypot(30, 180) / 9)
    assert in_conflict == 1
    # the other one flies away at 90 deg: d = (800, 0), v = (9, -9)
    assert seen.intruders[0, 0, 1, 5].item() == pytest.approx(-2)  # tcpa -44 s, clipped to two look-ahead times
    assert seen.intruders[0, 0, 1, 7].item() == pytest.approx(-1)
    assert seen.intruders[0, 0, 1, 8].item() == 0


def test_feature_names_fit():
    for name in NAMES:
        view = View(name)
        own, intruder = FEATURE_NAMES[name]
        assert (len(own), len(intruder)) == (view.ownship_features, view.intruder_features)
    assert [View(name).intruder_features for name in NAMES] == [5, 5, 9]


# --- who is seen ---


@pytest.mark.parametrize(("intruders", "seen"), [(None, 4), (2, 2), (4, 4), (50, 4)])
def test_the_nearest_are_seen_nearest_first(intruders, seen):
    rows = [(0, 0, 0, 9, 0, 1)] + [(east, 0, 0, 9, 0, 1) for east in (400, 100, 300, 200)]
    observation = observe_all(traffic_of(rows), View(intruders=intruders, length_m=100, bound=9.0))
    assert observation.intruders.shape == (1, 5, seen, 5)
    assert observation.intruders[0, 0, :, 0].tolist() == pytest.approx([1, 2, 3, 4][:seen])
    assert View(intruders=intruders).seen(5) == seen


def test_equally_near_intruders_stand_by_number():
    rows = [(0, 0, 0, 9, 0, 1), (0, 100, 0, 9, 0, 1), (100, 0, 0, 9, 0, 1), (0, -100, 0, 9, 0, 1)]
    for dtype in (torch.float32, torch.float64):
        observation = observe_all(traffic_of(rows, dtype=dtype), View(length_m=100))
        assert observation.intruders[0, 0, :, 1:3].tolist() == [[0, 1], [1, 0], [0, -1]]


def test_padding_is_zero_and_masked():
    rows = [(east, 0, 0, 9, 0, 100) for east in (0, 100, 200, 300)]
    for name in NAMES:
        observation = observe_all(traffic_of(rows, [True, False, True, False]), View(name))
        assert observation.is_present[0].tolist() == [
            [True, False, False],
            [False] * 3,
            [True, False, False],
            [False] * 3,
        ]
        assert not observation.intruders[~observation.is_present].any()
        assert observation.intruders[0, 0, 0, 0].item() == pytest.approx(200 / 935)


def test_an_intruder_on_the_same_spot_is_present_with_zeros():
    observation = observe_all(traffic_of([(5, 5, 0, 9, 0, 100)] * 2), View("cpa"))
    assert observation.is_present[0].tolist() == [[True], [True]]
    assert observation.intruders.isfinite().all()
    assert observation.intruders[0, 0, 0, 8] == 1


@pytest.mark.parametrize("name", NAMES)
def test_one_aircraft_sees_nobody(name):
    for view in (View(name), View(name, intruders=3)):
        observation = observe_all(traffic_of([(0, 0, 0, 9, 0, 100)]), view)
        assert observation.intruders.shape == (1, 1, 0, view.intruder_features)
        assert observation.is_present.shape == (1, 1, 0)
        assert observation.flatten().intruders.shape == (1, 0, view.intruder_features)
        assert view.seen(1) == 0


# --- properties ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("text", ["seed", "ego", "cpa", "seed:intruders=3", "cpa:intruders=20"])
def test_the_loaders_rows_see_what_was_seen_in_flight(text, dtype):
    view, traffic = View.parse(text), random_traffic(1, 6, 8, dtype)
    flight = observe_all(traffic, view)
    episode, aircraft = traffic.is_flying.nonzero(as_tuple=True)
    own, pairs = pairs_of_rows(traffic.map(lambda tensor: tensor[episode]), aircraft)
    for row, seen in zip(observe(own, pairs, view), flight, strict=True):
        assert row.dtype == seen.dtype
        torch.testing.assert_close(row, seen[episode, aircraft], rtol=0, atol=1e-6)
    assert torch.equal(observe(own, pairs, view).is_present, flight.is_present[episode, aircraft])


@pytest.mark.parametrize("name", NAMES)
def test_single_and_double_precision_agree(name):
    double = random_traffic(2)
    single = double.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    first, second = observe_all(double, View(name)), observe_all(single, View(name))
    assert first.ownship.dtype == first.intruders.dtype == torch.float64
    assert second.intruders.dtype == torch.float32
    assert torch.equal(first.is_present, second.is_present)
    torch.testing.assert_close(second.intruders[..., :5].double(), first.intruders[..., :5], rtol=0, atol=1e-5)
    torch.testing.assert_close(second.ownship.double(), first.ownship, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["ego", "cpa"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), angle=st.floats(-3, 3))
def test_ego_and_cpa_do_not_know_where_north_is(name, seed, angle):
    traffic = random_traffic(seed)
    straight, turned = (observe_all(each, View(name)) for each in (traffic, transformed(traffic, angle)))
    for first, second in zip(straight, turned, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), east=st.floats(-500, 500), north=st.floats(-500, 500))
def test_intruders_do_not_know_where_the_centre_is(seed, east, north):
    traffic = random_traffic(seed)
    for name in NAMES:
        here, there = (observe_all(each, View(name)) for each in (traffic, transformed(traffic, 0, east, north)))
        torch.testing.assert_close(here.intruders, there.intruders, rtol=0, atol=1e-9)


def test_the_seed_layout_does_know_where_north_is():
    traffic = random_traffic(5)
    assert not torch.allclose(
        observe_all(traffic, View()).intruders, observe_all(transformed(traffic, 1.0), View()).intruders
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_the_aircraft_do_not_matter(name):
    traffic, order = random_traffic(6), torch.tensor([3, 0, 8, 1, 7, 2, 6, 5, 4])
    expected = observe_all(traffic, View(name))
    for values, wanted in zip(observe_all(traffic.map(lambda t: t[:, order]), View(name)), expected, strict=True):
        torch.testing.assert_close(values, wanted[:, order], rtol=0, atol=1e-12)


def test_ended_aircraft_are_seen_by_nobody():
    traffic = random_traffic(7, ended=0)
    traffic.is_flying[:, 6:] = False
    few = observe_all(traffic.map(lambda tensor: tensor[:, :6]), View("cpa"))
    many = observe_all(traffic, View("cpa"))
    assert torch.equal(many.intruders[:, :6, :5], few.intruders)
    assert not many.is_present[:, :6, 5:].any()
    assert not many.is_present[:, 6:].any()


def test_cpa_features_are_those_of_the_conflict_detection():
    traffic = random_traffic(8, 20, 15, ended=0)
    view = View("cpa", protected_zone_m=120, lookahead_s=20)
    pairs = pairs_of(traffic)
    observation = observe_all(traffic, view, pairs)
    order = pairs.distance2_m2.argsort(-1)[..., :14]
    is_conflict = detect(pairs, 120, 20).gather(-1, order)
    assert is_conflict.sum() > 50
    assert torch.equal(observation.intruders[..., 8].bool(), is_conflict)
    found = find(pairs, 120, 20)
    index = (found.episode, found.ownship, found.intruder)
    for column, expected in ((5, found.tcpa_s.clamp(-40, 40) / 20), (6, found.dcpa_m / 935)):
        dense = torch.full_like(pairs.east_m, torch.nan).index_put(index, expected).gather(-1, order)
        torch.testing.assert_close(
            observation.intruders[..., column][is_conflict], dense[is_conflict], rtol=0, atol=1e-6
        )


def test_observing_changes_nothing_of_the_state():
    traffic = random_traffic(9, dtype=torch.float32)
    pairs = pairs_of(traffic)
    before, pairs_before = traffic.clone(), [values.clone() for values in pairs[:6]]
    for name in NAMES:
        observe_all(traffic, View(name), pairs)
    assert all(
        torch.equal(getattr(traffic, field), getattr(before, field))
        for field in vars(traffic)
        if getattr(traffic, field) is not None
    )
    assert all(torch.equal(*both) for both in zip(pairs[:6], pairs_before, strict=True))


def test_flattening():
    observation = observe_all(random_traffic(1, 3, 4), View())
    flat = observation.flatten()
    assert [tuple(values.shape) for values in flat] == [(12, 7), (12, 3, 5), (12, 3)]
    assert torch.equal(flat.intruders[5], observation.intruders[1, 1])
    assert isinstance(flat, Observation)


# --- views as text and JSON ---


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("seed", View()),
        ("ego:intruders=8", View("ego", 8)),
        ("cpa:lookahead_s=20:intruders=3", View("cpa", 3, lookahead_s=20)),
        ("seed:length_m=1e3", View(length_m=1000)),
    ],
)
def test_parsing(text, view):
    assert View.parse(text) == view


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    intruders=st.none() | st.integers(1, 99),
    numbers=st.tuples(*[st.floats(1e-3, 1e6)] * 4),
)
def test_text_and_json_go_back_and_forth(name, intruders, numbers):
    view = View(name, intruders, *numbers)
    assert View.parse(str(view)) == view
    assert View.from_json(view.to_json()) == view


def test_text_names_only_what_differs():
    assert str(View("ego", intruders=8)) == "ego:intruders=8"
    assert str(View()) == "seed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead", r"unknown observation 'sead'\. There are: seed, ego, cpa"),
        ("ego:nearest=3", r"observation 'ego' has no parameter 'nearest'\. It has: intruders, length_m"),
        ("ego:name=seed", r"no parameter 'name'\. It has: intruders"),
        ("ego:intruders=2.5", r"expected a whole number for intruders, got '2\.5'\. Example: ego:length_m=935"),
        ("ego:intruders", r"expected NAME:key=value:key=value, got 'intruders'"),
        ("ego:intruders=0", r"expected intruders of 1 or more, got 0"),
        ("seed:length_m=far", r"expected a number for length_m, got 'far'"),
        ("seed:length_m=-1", r"expected length_m above 0, got -1"),
        ("seed:speed_mps=nan", r"expected a number for speed_mps, got nan"),
        ("seed:lookahead_s=inf", r"expected a number for lookahead_s, got inf"),
    ],
)
def test_bad_views(text, message):
    with pytest.raises(ObservationError, match=message):
        View.parse(text)


def test_json_of_another_version():
    with pytest.raises(ObservationError, match=r"unknown keys \['wind'\]\. .*another version"):
        View.from_json({**View().to_json(), "wind": 1})
    with pytest.raises(ObservationError, match=r"observation: missing keys \['bound', 'intruders', 'length_m'"):
        View.from_json({"name": "seed"})


# --- gradients: what analytic fine-tuning follows ---


def differentiable(traffic):
    """The same traffic, of which a gradient can be asked, and what it can be asked of."""
    state = [tensor.clone().requires_grad_() for tensor in list(vars(traffic).values())[:4]]
    return Traffic(*state, traffic.waypoint_east_m, traffic.waypoint_north_m, traffic.is_flying), state


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    traffic, state = differentiable(random_traffic(3, batch=2, aircraft=5))
    view = View(name, intruders=3)

    def features(*quantities):
        moved = Traffic(*quantities, traffic.waypoint_east_m, traffic.waypoint_north_m, traffic.is_flying)
        seen = observe_all(moved, view)
        return seen.ownship, seen.intruders

    assert torch.autograd.gradcheck(features, state, eps=1e-4, atol=1e-6)  # m and rad: of the order of hundreds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flying", [[True, False, False], [False, False, False]])
def test_nobody_there_means_no_gradient_and_no_nan(name, flying):
    rows = [(0, 0, 30, 9, 100, 400), (0, 0, 60, 9, 100, 400), (50, 0, 60, 9, 0, 0)]
    traffic, state = differentiable(traffic_of(rows, flying=flying))
    seen = observe_all(traffic, View(name))
    assert not seen.is_present.any()
    assert (seen.intruders == 0).all()
    grads = torch.autograd.grad(seen.intruders.sum(), state)
    assert all((grad == 0).all() for grad in grads)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_in_one_place_and_at_one_velocity(name):
    rows = [(7, 9, 30, 9, 100, 400), (7, 9, 30, 9, 100, 400), (7, 80, 30, 9, 0, 0)]
    traffic, state = differentiable(traffic_of(rows))
    seen = observe_all(traffic, View(name))
    grads = torch.autograd.grad(seen.intruders.sum() + seen.ownship.sum(), state)
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("name", NAMES)
def test_with_and_without_gradients_the_same_is_seen(name):
    traffic = random_traffic(5, dtype=torch.float32)
    with_gradients = observe_all(differentiable(traffic)[0], View(name))
    for one, other in zip(with_gradients, observe_all(traffic, View(name))):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


# --- what is far ---


def test_what_is_far_is_seen_at_the_bound():
    # flying north in the middle; an intruder 3,000 m ahead and 4,000 m to the right, flying west
    rows = [(0, 0, 0, 9, 0, 500), (4000, 3000, 270, 9, 0, 0)]
    seen = observe_all(traffic_of(rows), View("cpa", length_m=1000, bound=2.5))
    distance, right, ahead, velocity_right, velocity_ahead = seen.intruders[0, 0, 0, :5].tolist()
    assert (distance, right, ahead) == pytest.approx((2.5, 2.0, 1.5))  # 5 radii away, in its direction
    assert (velocity_right, velocity_ahead) == pytest.approx((-0.5, -0.5))  # as it is
    assert seen.intruders[0, 0, 0, 6].item() == pytest.approx(0.5 * math.sqrt(2))  # dcpa: |(500, -500)| m
    # the other one, 5 radii from the centre: that is behind, to the right, at half of the bound
    own = observe_all(traffic_of(rows), View("ego", length_m=1000, bound=20.0)).ownship[0, 1].tolist()
    assert own[3:] == pytest.approx([-3, 4, -3, 4])
    own = observe_all(traffic_of(rows), View("ego", length_m=1000, bound=6.0)).ownship[0, 1].tolist()
    assert own[3:] == pytest.approx([-1.8, 2.4, -3, 4])  # the waypoint, 5 radii away, is not far
    own = observe_all(traffic_of(rows), View("ego", length_m=1000, bound=4.0)).ownship[0, 1].tolist()
    assert own[3:] == pytest.approx([0, 0, -0.6, 0.8])  # now it is: as from the centre to the edge
    assert observe_all(traffic_of(rows), View("seed", length_m=1000)).ownship[0, 1, 3:5].tolist() == [0, 0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(NAMES))
def test_in_the_reference_world_nothing_is_far_to_the_bit(seed, name):
    """Nobody is more than 935 m + 50 m + a step of 18 m from the centre, nor any waypoint outside of it."""
    traffic = random_traffic(seed, dtype=torch.float32)
    for east, north, most in ((0, 1, 1003.0), (4, 5, 935.0)):
        columns = list(vars(traffic).values())
        excess = (torch.hypot(columns[east], columns[north]) / most).clamp_min(1.0)
        columns[east], columns[north] = columns[east] / excess, columns[north] / excess
        traffic = Traffic(*columns)
    for one, other in zip(observe_all(traffic, View(name)), observe_all(traffic, View(name, bound=1e9))):
        assert torch.equal(one, other)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(NAMES), far_m=st.floats(1e3, 1e7))
def test_no_length_is_seen_beyond_the_bound_and_directions_stay(seed, name, far_m):
    traffic, view = transformed(random_traffic(seed), 0.3, far_m, -far_m), View(name)
    seen, unbounded = observe_all(traffic, view), observe_all(traffic, View(name, bound=1e9))
    flying = traffic.is_flying
    lengths = [seen.intruders[..., 0], torch.hypot(seen.intruders[..., 1], seen.intruders[..., 2])]
    assert max(float(length.max()) for length in lengths) <= view.bound * (1 + 1e-9)
    assert float(torch.hypot(seen.ownship[..., 3], seen.ownship[..., 4])[flying].max()) <= view.bound / 2 + 1e-9
    for of in (slice(1, 3), slice(3, 5)):
        one, other = seen.intruders[..., of], unbounded.intruders[..., of]
        cross = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
        assert (cross.abs() < 1e-9 * (1 + other.norm(dim=-1) ** 2)).all()
    assert torch.equal(seen.is_present, unbounded.is_present)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_also_flow_from_what_is_far(name):
    traffic, state = differentiable(transformed(random_traffic(3, batch=2, aircraft=5), 0.0, 3000.0, 100.0))
    view = View(name, length_m=300.0, intruders=3)

    def features(*quantities):
        moved = Traffic(*quantities, traffic.waypoint_east_m, traffic.waypoint_north_m, traffic.is_flying)
        seen = observe_all(moved, view)
        return seen.ownship, seen.intruders

    assert torch.autograd.gradcheck(features, state, eps=1e-4, atol=1e-6)
