import base64
import json

import numpy as np
import pytest

from skyclone.evaluate.replay import GONE, record


def test_a_flight_is_recorded_step_by_step(evaluated):
    evaluation, loaded = evaluated
    plan = evaluation.plan
    data = record(list(loaded.values()), plan.world, plan.seed, range(2))
    assert json.loads(json.dumps(data)) == data
    assert [each["name"] for each in data["contenders"]] == list(loaded)
    for each in data["contenders"]:
        assert len(each["flights"]) == 2
        for number, flight in enumerate(each["flights"]):
            shape = (flight["steps"], plan.world.aircraft, 2)
            frames = np.frombuffer(base64.b64decode(flight["positions"]), "<i2").reshape(shape)
            is_flying = frames[..., 0] != GONE
            assert is_flying[0].all()
            assert is_flying.any(1).all()
            assert is_flying.sum() == evaluation.figures[each["name"]].steps[number]
            assert all(0 <= code < flight["steps"] * 36 for code in flight["conflicts"])
            assert len(flight["conflicts"]) == evaluation.figures[each["name"]].conflict_steps[number]


def test_positions_are_exact_to_a_few_centimetres(evaluated):
    evaluation, loaded = evaluated
    plan = evaluation.plan
    data = record([loaded["none"]], plan.world, plan.seed, range(1))
    assert data["unit_m"] < 0.1
    flight = data["contenders"][0]["flights"][0]
    frames = np.frombuffer(base64.b64decode(flight["positions"]), "<i2").reshape(flight["steps"], -1, 2)
    step = np.diff(frames[:2].astype(float), axis=0) * data["unit_m"]
    assert np.hypot(*step[0].T) == pytest.approx(9.0, abs=0.1)
