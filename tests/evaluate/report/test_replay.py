import base64
from dataclasses import replace
from math import degrees
from unittest import mock

import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace import neighbours
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.arithmetic import compiling
from skyclone.collect.collector import labelling
from skyclone.collect.flying import watching
from skyclone.collect.flying.assurance import REASONS
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot, advise, fly
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.layout import Layout
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.evaluation.config import EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load_all
from skyclone.evaluate.report import replay as replay_module
from skyclone.evaluate.report.camera import DECISION, GHOSTS, GONE, KEPT, NO_INTRUDER
from skyclone.evaluate.report.replay import NO_TRACK, record


def _array(text, kind, *shape):
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


@pytest.fixture(scope="module")
def replay(evaluated):
    evaluation, loaded = evaluated
    return record(list(loaded.values()), evaluation.plan.world, evaluation.plan.seed, range(2))


def test_a_flight_is_recorded_step_by_step(evaluated, replay):
    evaluation, loaded = evaluated
    count = evaluation.plan.world.aircraft
    assert [each.name for each in replay.contenders] == list(loaded)
    for name, flights, *_ in replay.contenders:
        assert len(flights) == 2
        for number, flight in enumerate(flights):
            is_flying = _array(flight.positions, "<i2", flight.steps, count, 2)[..., 0] != GONE
            assert is_flying[0].all()
            assert is_flying.any(1).all()
            assert is_flying.sum() == evaluation.figures[name].steps[number]
            assert len(_array(flight.decisions, DECISION, -1)) == is_flying.sum()
            assert all(0 <= code < flight.steps * count * count for code in flight.conflicts)
            assert len(flight.conflicts) == evaluation.figures[name].conflict_steps[number]


def test_by_lists_of_neighbours_the_same_is_recorded(evaluated):
    evaluation, loaded = evaluated
    run = loaded[evaluation.plan.contenders[-1].name]
    config, replays = WorldConfig(aircraft=40, max_steps=8), []
    for few in (3, 1000):
        with mock.patch.object(neighbours, "FEW", few):
            assert (World(config, 1, [0]).pairs.listed is None) == (few == 1000)
            replays.append(record([run], config, 1, range(1)).contenders[0].flights[0])
    lists, dense = replays
    assert lists.conflicts == dense.conflicts != []
    assert lists.attention.intruders == dense.attention.intruders
    assert lists.positions == dense.positions


def test_positions_are_exact_to_a_few_centimetres(replay):
    assert replay.unit_m < 0.1
    flight = replay.contenders[0].flights[0]
    frames = _array(flight.positions, "<i2", flight.steps, -1, 2)
    step = np.diff(frames[:2].astype(float), axis=0) * replay.unit_m
    assert np.hypot(*step[0].T) == pytest.approx(9.0, abs=0.1)


def test_what_was_flown_and_what_mvp_would_have_done(evaluated, replay):
    """The same flight once more, by hand, decision by decision."""
    evaluation, loaded = evaluated
    plan = evaluation.plan
    run = plan.contenders[-1].name
    teacher = teachers.make("mvp", plan.world)
    rows = iter(_array(replay.contenders[-1].flights[0].decisions, DECISION, -1))
    is_unlike = False
    for step in fly(World(plan.world, plan.seed, [0]), loaded[run].pilot):
        wanted = advise(teacher, plan.world, step.traffic, step.pairs).action
        for aircraft in step.traffic.is_flying[0].nonzero().squeeze(-1).tolist():
            row = next(rows)
            track = degrees(step.traffic.track_rad[0, aircraft].item()) % 360
            assert (float(row["track"]) * 360 / 65536 - track + 180) % 360 - 180 == pytest.approx(0, abs=0.01)
            speed = step.traffic.speed_mps[0, aircraft].item()
            assert float(row["speed"]) * replay.speed_mps / 255 == pytest.approx(speed, abs=0.04)
            flown = np.array([row["turn"], row["change"]]) / 127
            assert flown == pytest.approx(step.action[0, aircraft].numpy(), abs=0.005)
            advised = np.array([row["mvp_turn"], row["mvp_change"]]) / 127
            assert advised == pytest.approx(wanted[0, aircraft].numpy(), abs=0.005)
            is_unlike |= abs(flown - advised).max() > 0.1
    assert next(rows, None) is None
    assert is_unlike


def test_mvp_does_what_mvp_would_have_done(replay):
    assert replay.mvp == "mvp"
    flight = next(each for each in replay.contenders if each.name == "mvp").flights[0]
    rows = _array(flight.decisions, DECISION, -1)
    assert flight.attention is None
    np.testing.assert_array_equal(rows["turn"], rows["mvp_turn"])
    np.testing.assert_array_equal(rows["change"], rows["mvp_change"])


def test_the_attention_is_that_of_the_intruders_it_names(evaluated, replay):
    evaluation, loaded = evaluated
    plan = evaluation.plan
    run = plan.contenders[-1].name
    policy = loaded[run].policy
    flight = replay.contenders[-1].flights[0]
    heads, kept = flight.attention.heads, flight.attention.kept
    intruders = _array(flight.attention.intruders, "<u2", -1, kept)
    weights = _array(flight.attention.weights, "u1", -1, heads, kept)
    assert (heads, kept) == (3, 4)
    sums = np.where(intruders[:, :1] == NO_INTRUDER, 0, 255).repeat(heads, 1)
    assert weights.sum(-1) == pytest.approx(sums, abs=kept)
    assert not weights.swapaxes(1, 2)[intruders == NO_INTRUDER].any()
    world = World(plan.world, plan.seed, [0])
    expected = policy.attention(observe_all(world.traffic, policy.view))[0]  # (N, H, K), nearest first
    for aircraft in range(plan.world.aircraft):
        nearest = world.pairs.distance2_m2[0, aircraft].argsort()[:kept].tolist()
        place = {intruder: number for number, intruder in enumerate(intruders[aircraft].tolist())}
        assert set(place) == set(nearest)
        for number, intruder in enumerate(nearest):
            found = weights[aircraft, :, place[intruder]] / 255
            assert found == pytest.approx(expected[aircraft, :, number].numpy(), abs=0.003)
        assert (np.diff(weights[aircraft].max(0).astype(int)) <= 0).all()  # the heaviest first


def test_of_many_intruders_the_heaviest_are_kept(make_run, tmp_path):
    run = str(make_run(tmp_path / "run", view="seed"))
    plan = EvaluationConfig(tuple(name_all([run], "none")), WorldConfig(aircraft=15, max_steps=3), scenarios=1)
    loaded = load_all(plan)
    flight = record([loaded[run]], plan.world, plan.seed, [0]).contenders[0].flights[0]
    assert flight.attention.kept == KEPT
    weights = _array(flight.attention.weights, "u1", -1, 3, KEPT)
    traffic = World(plan.world, plan.seed, [0]).traffic
    most = loaded[run].policy.attention(observe_all(traffic, View.parse("seed")))[0].amax(1)  # (N, 14)
    kept = most.topk(KEPT).values.numpy()
    assert weights[:15].max(1) / 255 == pytest.approx(kept, abs=0.003)


def test_the_one_that_is_asked_is_the_mvp_among_the_contenders():
    plan = EvaluationConfig(
        tuple(name_all([], "none,mvp:margin=1.4")), WorldConfig(aircraft=6, max_steps=5), scenarios=1
    )
    loaded = list(load_all(plan).values())
    assert record(loaded, plan.world, 0, [0]).mvp == "mvp:margin=1.4"
    assert record(loaded[:1], plan.world, 0, [0]).mvp == "mvp"


def test_an_aircraft_alone_has_nobody_to_look_at(make_run, tmp_path):
    run = str(make_run(tmp_path / "run"))
    plan = EvaluationConfig(tuple(name_all([run], "")), WorldConfig(aircraft=1, max_steps=3), scenarios=1)
    flight = record([load_all(plan)[run]], plan.world, 0, [0]).contenders[0].flights[0]
    assert (flight.attention.heads, flight.attention.kept, flight.attention.weights) == (3, 0, "")
    assert flight.conflicts == []


def test_a_long_recording_is_thinned():
    config = WorldConfig(aircraft=4, max_steps=40)
    plan = EvaluationConfig(tuple(name_all([], "mvp")), config, scenarios=2)
    loaded = [load_all(plan)["mvp"]]
    whole, thin = (record(loaded, config, 0, range(2), most_bytes=most) for most in (10**6, 1500))
    assert (whole.step_s, thin.step_s) == (1.0, 3.0)  # 40 steps x 2 x 4 aircraft x (4 + 7) bytes
    for one, other in zip(whole.contenders[0].flights, thin.contenders[0].flights, strict=True):
        frames = [_array(each.positions, "<i2", each.steps, 4, 2) for each in (one, other)]
        np.testing.assert_array_equal(frames[0][::3], frames[1])
        pairs = {code for code in one.conflicts if code // 16 % 3 == 0}
        assert {code % 16 + 16 * 3 * (code // 16) for code in other.conflicts} == pairs


def test_filming_changes_nothing(traffic_of):
    """A pilot is asked once per step: what it flies does not depend on being filmed."""
    config = WorldConfig(aircraft=3, max_steps=10)
    asked: list[int] = []
    mvp = TeacherPilot(teachers.make("mvp", config), config)

    def pilot(traffic, pairs):
        asked.append(1)
        return mvp(traffic, pairs)

    plan = EvaluationConfig(tuple(name_all([], "mvp")), config, scenarios=1)
    loaded = load_all(plan)["mvp"]
    object.__setattr__(loaded, "pilot", pilot)
    torch.manual_seed(0)
    record([loaded], config, 0, [0])
    assert len(asked) == 10


@pytest.mark.skipif(bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}")
def test_a_teacher_is_filmed_as_its_figures_were_flown(monkeypatch):
    """By the kernels: nothing is flown in torch, and the flight is that of the same seed's dataset."""
    config = WorldConfig(aircraft=8, sector_radius_m=400, sector_area_m2=300_000, start_separation_m=80)
    plan = EvaluationConfig(tuple(name_all([], "mvp")), config, scenarios=2)
    loaded = load_all(plan)["mvp"]
    monkeypatch.setattr(watching, "World", None)
    replay = record([loaded], config, 4, range(2))
    table, _ = labelling.record(config, 4, range(2), teachers.make("mvp", config))
    for number, flight in enumerate(replay.contenders[0].flights):
        frames = _array(flight.positions, "<i2", flight.steps, 8, 2)
        own = table["episode"] == number
        found = frames[table["step"][own], table["aircraft"][own]] * replay.unit_m
        place = np.stack((table["east_m"][own], table["north_m"][own]), axis=-1)
        np.testing.assert_allclose(found, place, atol=0.51 * replay.unit_m)
        assert (frames[..., 0] != GONE).sum() == own.sum()
        rows = _array(flight.decisions, DECISION, -1)
        np.testing.assert_allclose(rows["turn"] / 127, table["pilot_turn"][own], atol=0.005)


SQUARE = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
GOES_ON = Layout(
    SQUARE,
    np.array([[-500.0, 0], [0, 0], [500, 0], [700, 700]]),
    np.array([[-500.0, 45], [0, 63], [500, 45], [700, 700]]),
    entry_s=np.array([0.0, 2, 20, 0]),
    routes_m=(np.array([[-500.0, 90]]), np.zeros((0, 2)), np.array([[500.0, 90], [500, 135]]), np.zeros((0, 2))),
    hovers=np.array([False, False, False, True]),
    no_fly_m=(SQUARE[:3] / 10 + 300,),
)


@pytest.mark.parametrize("arithmetic", ["kernels", "torch"])
def test_traffic_that_goes_on(monkeypatch, arithmetic):
    """Entries, legs, a time in which nobody flies, one that hovers to the end of the flight and no longer."""
    for module in (start, replay_module):
        monkeypatch.setattr(module, "lay_out", lambda config, seed, episode: GOES_ON)
    if arithmetic == "torch":
        monkeypatch.setattr(watching, "rules_of_pilot", lambda *_: None)
    config = WorldConfig(aircraft=5, max_steps=60)
    plan = EvaluationConfig(tuple(name_all([], "none")), config, scenarios=2)
    replay = record([load_all(plan)["none"]], config, 0, range(2))
    for scenario, flight in zip(replay.scenarios, replay.contenders[0].flights, strict=True):
        assert scenario.hovers == [3]
        assert scenario.no_fly_m == [(SQUARE[:3] / 10 + 300).tolist()]
        assert scenario.routes_m == [[[-500, 90]], [], [[500, 90], [500, 135]], []]
        frames = _array(flight.positions, "<i2", flight.steps, 5, 2)
        flying = [np.flatnonzero(column != GONE).tolist() for column in frames[..., 0].T]
        assert flying[0] == list(range(8))  # (90 - 18.52) / 9 = 7.9
        assert flying[1] == list(range(2, 7))
        assert flying[2] == list(range(20, flight.steps))
        assert flying[3] == list(range(flight.steps))
        assert flight.steps == 20 + 13  # (135 - 18.52) / 9 = 12.9
        assert flying[4] == []
        legs = [divmod(code, 5) for code in flight.legs]
        assert legs == [(3, 0), (23, 2), (28, 2)]  # (45 - 18.52) / 9 = 2.9; (90 - 18.52) / 9 = 7.9
        assert len(_array(flight.decisions, DECISION, -1)) == sum(map(len, flying))


def test_two_that_hover_side_by_side_are_in_no_conflict(monkeypatch):
    layout = replace(GOES_ON, position_m=GOES_ON.position_m * [0, 1], hovers=np.array([True, True, False, True]))
    for module in (start, replay_module):
        monkeypatch.setattr(module, "lay_out", lambda config, seed, episode: layout)
    config = WorldConfig(aircraft=4, max_steps=60)
    plan = EvaluationConfig(tuple(name_all([], "none")), config, scenarios=1)
    flight = record([load_all(plan)["none"]], config, 0, [0]).contenders[0].flights[0]
    assert all(2 in divmod(code % 16, 4) for code in flight.conflicts)
    assert flight.conflicts


def test_what_each_perceives_is_kept(make_run, tmp_path):
    """Held against the flight once more: where the twelve nearest are taken to be, and who is not known of."""
    run = str(make_run(tmp_path / "run"))
    quality = "noise:position_m=8:latency_s=1:reception=0.4:drop_s=2"
    world = WorldConfig(aircraft=15, max_steps=12, surveillance=quality)
    plan = EvaluationConfig(tuple(name_all([run], "mvp")), world, scenarios=1)
    loaded = load_all(plan)
    replay = record([loaded["mvp"], loaded[run]], world, plan.seed, [0])
    assert replay.offset_m == 1.0
    missing = 0
    for filmed in replay.contenders:
        flight = filmed.flights[0]
        assert flight.ghosts.kept == GHOSTS
        near = iter(_array(flight.ghosts.intruders, "<u2", -1, GHOSTS).tolist())
        offsets = iter(_array(flight.ghosts.offsets, "i1", -1, GHOSTS, 2).tolist())
        for step in fly(World(world, plan.seed, [0]), loaded[filmed.name].pilot):
            known, true = step.known[1], step.pairs
            for own in step.traffic.is_flying[0].nonzero().squeeze(-1).tolist():
                numbers = next(near)
                assert numbers == true.distance2_m2[0, own].argsort()[:GHOSTS].tolist()
                for number, offset in zip(numbers, next(offsets), strict=True):
                    at = (0, own, number)
                    assert (offset[0] != NO_TRACK) == known.is_pair[at]
                    missing += offset[0] == NO_TRACK
                    if known.is_pair[at]:
                        off = [
                            float(known.east_m[at] - true.east_m[at]),
                            float(known.north_m[at] - true.north_m[at]),
                        ]
                        assert offset == pytest.approx(off, abs=0.51)
        assert next(near, None) is None
    assert missing > 100


def test_with_what_it_knows_mvp_does_what_mvp_would_have_done():
    world = WorldConfig(aircraft=8, max_steps=20, surveillance="remote-id")
    plan = EvaluationConfig(tuple(name_all([], "mvp")), world, scenarios=1)
    flight = record([load_all(plan)["mvp"]], world, plan.seed, [0]).contenders[0].flights[0]
    rows = _array(flight.decisions, DECISION, -1)
    np.testing.assert_array_equal(rows["turn"], rows["mvp_turn"])
    np.testing.assert_array_equal(rows["change"], rows["mvp_change"])


def test_who_knows_everything_has_no_ghosts(replay):
    assert all(flight.ghosts is None for each in replay.contenders for flight in each.flights)


@pytest.mark.parametrize("mix", ["", "0.5=self,0.5=none"])
def test_who_is_flown_by_a_fallback_is_kept(make_run, tmp_path, mix):
    """Held against the flight once more; an untrained policy among many soon loses separation."""
    run = str(make_run(tmp_path / "run"))
    world = WorldConfig(aircraft=12, max_steps=30, sector_radius_m=500.0, sector_area_m2=4e5)
    plan = EvaluationConfig(tuple(name_all([run, f"{run}@rta"], "mvp")), world, scenarios=2, mix=mix)
    loaded = load_all(plan)
    replay = record(list(loaded.values()), world, plan.seed, [0, 1])
    *others, monitored = replay.contenders
    assert monitored.name == f"{run}@rta"
    assert all(flight.fallback is None for each in others for flight in each.flights)
    kept = [_array(flight.fallback, "u1", -1) for flight in monitored.flights]
    figures = fly_scenarios(loaded[monitored.name].pilot, world, plan.seed, [0, 1])
    for codes, flight, counts in zip(kept, monitored.flights, figures.assurance, strict=True):
        assert len(codes) == len(_array(flight.decisions, DECISION, -1))
        assert np.bincount(codes, minlength=4)[1:].tolist() == counts[:3].tolist()
    assert np.concatenate(kept).any()
    assert replay.reasons == list(REASONS)


def test_zones_limits_and_wind_are_kept():
    fleet = "m600=0.5,wing(cruise_mps=20;protected_zone_m=150)=0.5"
    world = WorldConfig(aircraft=6, max_steps=5, fleet=fleet, wind_east_mps=4.0, gust_mps=1.0)
    plan = EvaluationConfig(tuple(name_all([], "mvp")), world, scenarios=1)
    replay = record([load_all(plan)["mvp"]], world, plan.seed, [0])
    (scenario,), begin = replay.scenarios, start.start_of(world, plan.seed, [0])
    assert sorted(set(scenario.zone_scales)) == [1.0, 1.5]
    assert scenario.zone_scales == begin.traffic.zone_scale[0].tolist()
    assert [row[0] == 20.0 for row in scenario.limits_mps] == [scale == 1.5 for scale in scenario.zone_scales]
    np.testing.assert_allclose(scenario.winds_mps, begin.winds_mps[0].numpy(), atol=0.001)
    rows = _array(replay.contenders[0].flights[0].decisions, DECISION, -1)
    speeds = rows["speed"][:6] * replay.speed_mps / 255  # over ground, in wind: perhaps above any airspeed
    np.testing.assert_allclose(speeds, begin.traffic.speed_mps[0].numpy(), atol=0.08)


def test_in_a_mix_the_others_have_no_attention_and_nobody_sees_the_silent(make_run, tmp_path):
    """Held against the flight once more: a policy that sees all, beside MVP and aircraft that transmit nothing."""
    run = str(make_run(tmp_path / "run", view="ego:intruders=8"))
    world = WorldConfig(aircraft=8, max_steps=10, scenario="inside")
    plan = EvaluationConfig(tuple(name_all([run], "none")), world, scenarios=2, mix="0.5=self,0.25=mvp,0.25=silent")
    loaded = load_all(plan)
    replay = record([loaded[run]], world, plan.seed, range(2), shares=plan.shares)
    pilot = loaded[run].pilot.in_world(World(world, plan.seed, range(2)))
    names = [each.name for each in plan.shares]
    assert [each.flown_by for each in replay.scenarios] == [
        [names[n] for n in row] for row in pilot.number.tolist()
    ]
    for scenario, flight in zip(replay.scenarios, replay.contenders[0].flights, strict=True):
        kept = flight.attention.kept
        whom = iter(_array(flight.attention.intruders, "<u2", -1, kept))
        weights = iter(_array(flight.attention.weights, "u1", -1, flight.attention.heads, kept))
        is_heard = [name != "silent" for name in scenario.flown_by]
        for place in _array(flight.positions, "<i2", flight.steps, 8, 2):
            for own in np.flatnonzero(place[:, 0] != GONE).tolist():
                found, shares = next(whom), next(weights)
                seen = [each for each in np.flatnonzero(place[:, 0] != GONE) if is_heard[each] and each != own]
                assert sorted(found[found != NO_INTRUDER]) == (seen if scenario.flown_by[own] == "self" else [])
                assert bool(shares.any()) == (scenario.flown_by[own] == "self" and bool(seen))
