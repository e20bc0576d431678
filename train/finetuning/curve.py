"""The curve of a fine-tuning run: what each iteration leaves in `metrics.jsonl`, for TensorBoard and for people."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from ...datasets.errors import CheckpointError
from ...datasets.files.atomic import publish
from ..cloning.monitor import METRICS_NAME
from ..runs.gate import Flown, compare


@dataclass(frozen=True)
class Round:
    """The figures of one iteration: a rollout, an update, perhaps a flight through the gate.

    Attributes:
        iteration: Its number, from 1.
        steps: Agent-steps flown since the start.
        is_warmup: Whether only the critic learned.
        rollout: What happened in the rollout: mean reward and its terms, LoS, how flights ended.
        learning: Of PPO: losses, KL to the policy before the update (`kl`) and to the clone (`kl_to_clone`), clip
            fraction, entropy, standard deviation, explained variance, weight of the anchor, learning rate. Of the
            analytic gradient: the cost and its terms (m of detour per agent-step), number of aircraft, norm of the
            gradient, distance to the clone (root mean square, action units), learning rate.
        gate: Figures on the gate's scenarios, if they were flown, and whether this became the best.
        steps_per_second: Agent-steps per second of this iteration, all included.
        seconds: Wall-clock seconds since the start, all attempts together.
    """

    iteration: int
    steps: int
    is_warmup: bool
    rollout: dict[str, float]
    learning: dict[str, float]
    gate: dict[str, Any] | None
    steps_per_second: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Round":
        """Read what `to_json` made.

        Raises:
            CheckpointError: A key is missing or unknown.
        """
        if not isinstance(data, dict) or set(data) != {field.name for field in fields(cls)}:
            raise CheckpointError(f"expected the figures of an iteration, got {str(data)[:200]}")
        return cls(**data)

    def line(self, iterations: int) -> str:
        """Return the line a person reads; `iterations` is about how many there will be."""
        parts = [
            f"Stage 2 - Iter {self.iteration}/{iterations}",
            f"{self.steps:,} steps",
            f"reward {self.rollout['reward']:.4f}",
            f"LoS {self.rollout['los_s_per_flight_hour']:.2f} s/h",
            *(self._analytic() if "cost" in self.learning else self._ppo()),
        ]
        return " | ".join([*parts, f"{self.steps_per_second:,.0f} steps/s"])

    def _ppo(self) -> list[str]:
        """Return what is told about an update of PPO."""
        learning = self.learning
        explained = f"explained variance {learning['explained_variance']:.2f}"
        if self.is_warmup:
            return [explained, "critic only"]
        kl = f"KL {learning['kl']:.4f}, to the clone {learning['kl_to_clone']:.3f}"
        return [explained, kl, f"clipped {learning['clip_fraction']:.0%}"]

    def _analytic(self) -> list[str]:
        """Return what is told about an update along the analytic gradient."""
        learning = self.learning
        terms = ", ".join(f"{name} {learning[name]:.3f}" for name in ("path", "proximity", "predicted"))
        return [
            f"{learning['aircraft']:.0f} aircraft",
            f"cost {learning['cost']:.3f} m/step ({terms})",
            f"to the clone {learning['distance_to_clone']:.3f}",
        ]


def gate_line(gate: dict[str, Any], clone: dict[str, float]) -> str:
    """Return the line a person reads about a flight through the gate."""
    return (
        f"  gate: LoS {gate['los_events']:.3f} per scenario (clone {clone['los_events']:.3f}) | "
        f"extra distance {gate['extra_distance']:.2%} (clone {clone['extra_distance']:.2%}) | "
        f"waypoint {gate['waypoint_rate']:.2%} | {gate['mean_speed_mps']:.2f} m/s | "
        f"{'NEW BEST' if gate['is_best'] else 'not published'}: {gate['reason']}"
    )


class Curve:
    """Keeps the figures of a run, in `metrics.jsonl` and for TensorBoard; a context manager.

    Args:
        run: The run's folder.
        iterations: How many iterations the run goes on from; later figures in the files are dropped.

    Attributes:
        history: All iterations so far.

    Raises:
        CheckpointError: `metrics.jsonl` was edited.
    """

    def __init__(self, run: Path, iterations: int = 0) -> None:
        path = run / METRICS_NAME
        self.history = [each for each in read_metrics(path) if each.iteration <= iterations]
        publish(path, "".join(_metrics_line(each) for each in self.history).encode())
        # pulls in TensorBoard, which takes a second: only when a run starts
        from torch.utils.tensorboard import SummaryWriter

        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        purge = self.history[-1].steps + 1 if self.history else 0
        self._board: Any = SummaryWriter(str(run / "tensorboard"), purge_step=purge)

    def __enter__(self) -> "Curve":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

    def add(self, figures: Round) -> None:
        """Keep one more iteration."""
        self.history.append(figures)
        self._file.write(_metrics_line(figures))
        self._file.flush()
        groups = {"rollout": figures.rollout, "learning": figures.learning, "gate": figures.gate or {}}
        for group, values in groups.items():
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{group}/{name}", value, figures.steps)
        self._board.add_scalar("steps_per_second", figures.steps_per_second, figures.steps)
        self._board.flush()


def read_metrics(path: Path) -> list[Round]:
    """Read `metrics.jsonl`; a last line that was cut by a crash is left out.

    Raises:
        CheckpointError: A line is no iteration.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        return [Round.from_json(json.loads(line)) for line in lines]
    except (ValueError, TypeError, CheckpointError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Delete it, or fine-tune into another folder."
        ) from None


def summarise(
    curve: Curve,
    best_iteration: int,
    flown: Mapping[str, Flown],
    seconds: Mapping[str, float],
    is_saved: bool,
    trouble: str | None,
) -> dict[str, Any]:
    """Return what `RUN/summary.json` holds.

    Args:
        curve: All iterations.
        best_iteration: The one whose policy is the best; 0 is the clone.
        flown: Flights through the gate of `clone` and `best`.
        seconds: Where the time went, by name.
        is_saved: Whether the best checkpoint is on disk and can be read.
        trouble: What stopped the run if it met NaN or infinity.
    """
    last = curve.history[-1] if curve.history else None
    rates = sorted(each.steps_per_second for each in curve.history if not each.is_warmup and not each.gate)
    return {
        "steps": last.steps if last else 0,
        "iterations": len(curve.history),
        "best_iteration": best_iteration,
        "is_better_than_clone": best_iteration > 0,
        "gate": {"clone": flown["clone"].figures(), "best": compare(flown["best"], flown["clone"])},
        "steps_per_second": last.steps / sum(seconds.values()) if last else None,
        "steps_per_second_learning": rates[len(rates) // 2] if rates else None,
        "seconds": dict(seconds),
        "criteria": {"finite": trouble is None, "checkpoint_saved": is_saved, "not_worse_than_clone": is_saved},
        "trouble": trouble,
    }


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the end of a run as lines for people."""
    clone, best = summary["gate"]["clone"], summary["gate"]["best"]
    if not summary["is_better_than_clone"]:
        return ["Nothing flew better than the clone on the gate: `best` is the clone itself. Try more --steps."]
    return [
        f"Best: iteration {summary['best_iteration']}. On the gate, clone -> best: "
        f"LoS {clone['los_events']:.3f} -> {best['los_events']:.3f} per scenario, "
        f"extra distance {clone['extra_distance']:.2%} -> {best['extra_distance']:.2%}, "
        f"waypoint {clone['waypoint_rate']:.2%} -> {best['waypoint_rate']:.2%}, "
        f"{clone['mean_speed_mps']:.2f} -> {best['mean_speed_mps']:.2f} m/s"
    ]


def _metrics_line(figures: Round) -> str:
    """Return one line of `metrics.jsonl`."""
    return json.dumps(figures.to_json(), allow_nan=False) + "\n"
