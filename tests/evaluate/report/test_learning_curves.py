import json

import pytest

from skyclone.evaluate.report.learning_curves import Curve, caption, read, smoothed, window_of


def _write(run, entries, rest=""):
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + rest)
    return str(run)


def test_a_clone_s_curves(tmp_path):
    entries = [
        {"iteration": n, "train_loss": 1 / n, "heldout": {"mse": 2 / n, "mse_conflict": None, "mse_free": 0.5}}
        for n in (1, 2, 4)
    ]
    run = _write(tmp_path / "clone", entries, rest='{"iteration": 5, "train_lo')  # cut by a crash
    pictures = read(run)
    assert list(pictures) == ["imitation"]
    curves = {curve.name: curve for curve in pictures["imitation"]}
    assert set(curves) == {"training", "held out", "held out, free"}
    assert curves["held out"].x == [1, 2, 4]
    assert curves["held out"].y == [2, 1, 0.5]
    assert read(f"{run}/best.safetensors") == pictures


def test_a_fine_tuned_run_s_curves(tmp_path):
    entries = [
        {
            "steps": 100 * n,
            "rollout": {"reward": -n},
            "gate": {"los_events": 0.1 * n, "extra_distance": 0.02} if n % 2 else None,
        }
        for n in range(1, 5)
    ]
    pictures = read(_write(tmp_path / "tuned", entries))
    assert list(pictures) == ["reward in training", "safety on the gate", "route length on the gate"]
    (safety,) = pictures["safety on the gate"]
    assert safety.x == [100, 300]


def test_without_curves_there_are_none(tmp_path):
    assert read(str(tmp_path)) == read("pretrained:clone") == {}
    odd = [1, None, {"iteration": "x", "train_loss": True}, {"iteration": 1, "train_loss": float("nan")}]
    large = [{"iteration": n, "train_loss": loss} for n, loss in enumerate((10**400, 1e308, -1e200))]
    assert read(_write(tmp_path / "odd", odd + large, rest="[" * 100_000 + "\n" + "9" * 10_000)) == {}
    assert read(_write(tmp_path / "one", [{"iteration": 1, "train_loss": 0.5}])) == {}  # a point is no curve


def test_a_running_median_is_centred_and_leaves_single_iterations_out():
    line = Curve("a", list(range(100)), [float(n) for n in range(100)], "x", "y")
    assert window_of(line) == 5
    assert smoothed(line) == line.y  # of a straight line it is the line, to both ends
    spiky = line._replace(y=[1000.0 if n % 7 == 3 else 1.0 for n in range(100)])
    assert set(smoothed(spiky)[2:-2]) == {1.0}
    assert caption([spiky]) == "Lines: running median of 5 iterations; faint: each iteration."
    assert caption([spiky] * 5) == "Lines: running median of 5 iterations."
    few = line._replace(x=line.x[:10], y=spiky.y[:10])
    assert (smoothed(few), caption([few])) == (few.y, "")


@pytest.mark.parametrize("method", ["ppo", "analytic"])
def test_the_objective_by_term(tmp_path, method):
    sizes = {"path": 5.0, "proximity": 4.0, "predicted": 3.0, "speed": 2.0, "stall": 0.0, "pace": 0.5,
             "effort": 1.0, "leaving": 0.25, "outside": 0.0}  # fmt: skip
    place = {
        "ppo": {"rollout": {f"reward_{name}": size for name, size in sizes.items()}, "learning": {}},
        "analytic": {"rollout": {}, "learning": sizes},
    }[method]
    gate = {"objective": 15.75, "objective_terms": sizes}
    pictures = read(_write(tmp_path / "tuned", [{"steps": 10 * n, **place, "gate": gate} for n in (1, 2)]))
    for title in ("objective in training, by term", "objective on the gate, by term"):
        curves = {curve.name: curve.y for curve in pictures[title]}
        assert list(curves) == ["path", "proximity", "predicted", "speed", "effort", "others"]
        assert curves["path"] == [5.0, 5.0]
        assert curves["others"] == [0.75, 0.75]
    assert pictures["objective on the gate"][0].y == [15.75, 15.75]
