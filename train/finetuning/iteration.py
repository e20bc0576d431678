"""The figures of one iteration of fine-tuning."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from ...datasets.errors import CheckpointError


@dataclass(frozen=True)
class TuningIteration:
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
    def from_json(cls, data: dict[str, Any]) -> "TuningIteration":
        """Read what `to_json` made.

        Raises:
            CheckpointError: A key is missing or unknown.
        """
        if not isinstance(data, dict) or set(data) != {field.name for field in fields(cls)}:
            raise CheckpointError(f"expected the figures of an iteration, got {str(data)[:200]}")
        return cls(**data)

    @property
    def step(self) -> int:
        """Its place on a tracker's axis: agent-steps."""
        return self.steps

    def scalars(self) -> dict[str, float]:
        """Return a tracker's names and values."""
        groups = {"rollout": self.rollout, "learning": self.learning, "gate": self.gate or {}}
        return {
            **{
                f"{group}/{name}": value
                for group, values in groups.items()
                for name, value in values.items()
                if isinstance(value, int | float)
            },
            "steps_per_second": self.steps_per_second,
        }

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
        """Return what is logged about an update of PPO."""
        learning = self.learning
        explained = f"explained variance {learning['explained_variance']:.2f}"
        if self.is_warmup:
            return [explained, "critic only"]
        kl = f"KL {learning['kl']:.4f}, to the clone {learning['kl_to_clone']:.3f}"
        return [explained, kl, f"clipped {learning['clip_fraction']:.0%}"]

    def _analytic(self) -> list[str]:
        """Return what is said about an update along the analytic gradient."""
        learning = self.learning
        terms = ", ".join(f"{name} {learning[name]:.3f}" for name in ("path", "proximity", "predicted"))
        return [
            f"{learning['aircraft']:.0f} aircraft",
            f"cost {learning['cost']:.3f} m/step ({terms})",
            f"to the clone {learning['distance_to_clone']:.3f}",
        ]
