import io
from typing import Any

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from skyclone.train.finetuning import plots
from skyclone.train.finetuning.iteration import TuningIteration

CLONE = {"los_events": 0.5, "extra_distance": 0.05}

pytestmark = pytest.mark.usefixtures("plots_drawn")


def iteration(number: int, los: float = 2.0, gate_los: float | None = None, **changes: Any) -> TuningIteration:
    """1,000 steps each; with a flight through the gate if its LoS is given."""
    gate: dict[str, Any] | None = None
    if gate_los is not None:
        low = gate_los - CLONE["los_events"] - 0.1
        gate = {"los_events": gate_los, "los_events_difference": [low, low + 0.2], "extra_distance": 0.04,
                "is_best": gate_los < CLONE["los_events"]}  # fmt: skip
    rollout = {"reward": -0.02, "los_s_per_flight_hour": los}
    fields = {
        "steps": 1000 * number,
        "is_warmup": False,
        "rollout": rollout,
        "learning": {},
        "gate": gate,
        "seconds": 1.0,
    }
    return TuningIteration(iteration=number, steps_per_second=1.0, **{**fields, **changes})


def test_a_picture_that_can_be_read() -> None:
    history = [iteration(number, gate_los=0.6 - 0.1 * number) for number in (1, 2, 3)]
    png = plots.safety(history, CLONE)
    pixels = matplotlib.image.imread(io.BytesIO(png))
    assert pixels.shape == (888, 840, 4)
    assert pixels[..., :3].std() > 0.1
    assert plots.safety(history, CLONE) == png


@pytest.mark.parametrize("is_warmup", [True, False])
def test_what_stands_in_it(is_warmup: bool) -> None:
    history = [iteration(1, is_warmup=is_warmup), iteration(2, gate_los=0.4)]
    text = plots.safety(history, CLONE, "svg").decode()
    for label in (
        "the clone",
        "the policy",
        "95 % (paired with the clone)",
        "published as best",
        "agent-steps flown",
    ):
        assert f">{label}<" in text
    assert (">critic only<" in text) is is_warmup


def test_a_run_that_was_stopped_before_the_gate() -> None:
    assert b"the clone" in plots.safety([iteration(1)], CLONE, "svg")


def test_the_line_on_the_gate_begins_with_the_clone_and_stars_what_was_published() -> None:
    axes = Figure().subplots()
    history = [iteration(1, gate_los=0.6), iteration(2), iteration(3, gate_los=0.2)]
    plots._gate(axes, history, "los_events", CLONE)
    clone, policy, published = axes.lines
    assert list(clone.get_ydata()) == [0.5, 0.5]
    assert (list(policy.get_xdata()), list(policy.get_ydata())) == ([0, 1000, 3000], [0.5, 0.6, 0.2])
    assert (list(published.get_xdata()), list(published.get_ydata())) == ([3000], [0.2])
    corners = axes.collections[0].get_paths()[0].vertices
    assert {round(y, 6) for x, y in corners if x == 3000} == {0.1, 0.3}


def test_los_in_training_is_the_mean_over_the_steps_of_each_part() -> None:
    axes = Figure().subplots()
    plots._training(axes, [iteration(number, float(number)) for number in range(1, 41)])
    (line,) = axes.lines
    assert list(line.get_ydata()) == pytest.approx([2 * part + 1.5 for part in range(20)])
    assert list(line.get_xdata()) == pytest.approx([2000 * part + 1500 for part in range(20)])
    axes.clear()
    uneven = [iteration(1, 4.0), iteration(100, 1.0, steps=1040), iteration(101, 1.0, steps=21_000)]
    plots._training(axes, uneven)  # 1,000 steps with 4 and 40 with 1 lie in the first two twentieths
    assert list(axes.lines[0].get_ydata()) == pytest.approx([(1000 * 4.0 + 40 * 1.0) / 1040, 1.0])
