import json

from skyclone.evaluate.report.learning_curves import read


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
