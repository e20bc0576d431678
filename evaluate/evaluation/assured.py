"""Contenders with a monitor around them: `RUN@rta`, how they are named, and what their monitors did."""

from typing import Any

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.assurance import REASONS, AssuranceConfig
from ...collect.flying.figures import Figures
from ...datasets import spec

MONITOR = "rta"
"""What stands behind the @."""


def split(name: str) -> tuple[str, AssuranceConfig | None]:
    """Return the run that a name such as `runs/tuned@rta:margin=1.2` means, and its monitor; None if it has none.

    Raises:
        ConfigurationError: The monitor has no such parameter, or it is no number.
    """
    run, at, text = name.rpartition("@")
    if not at or text.partition(":")[0] != MONITOR:
        return name, None
    _, parameters = spec.parse(text, "monitor", {MONITOR: AssuranceConfig})
    return run, AssuranceConfig(**parameters)


def describe(figures: Figures, world: WorldConfig) -> dict[str, Any] | None:
    """Return what a monitor did, as JSON; None where there was none.

    Keys: `share` of the aircraft-steps that the fallback flew, `handovers` and `seconds` flown by it for each
    reason, `mean_s` flown by it after a hand-over, `per_flight` hand-overs for each aircraft that flew.
    """
    if not figures.assurance.size:
        return None
    own = figures.group(None) if figures.groups.size else figures  # in a mix it monitors one group
    totals = figures.assurance.sum(axis=0)
    steps, handovers = totals[: len(REASONS)], totals[len(REASONS) :]
    seconds = steps * world.step_s
    return {
        "share": float(steps.sum() / max(own.steps.sum(), 1.0)),
        "handovers": dict(zip(REASONS, handovers.tolist(), strict=True)),
        "seconds": dict(zip(REASONS, seconds.tolist(), strict=True)),
        "mean_s": float(seconds.sum() / handovers.sum()) if handovers.any() else None,
        "per_flight": float(handovers.sum() / max(own.aircraft.sum(), 1.0)),
    }


def sentence(name: str, figures: Figures, world: WorldConfig) -> str:
    """Return what the monitor of a contender, as people call it, did, in a sentence; "" where there was none."""
    found = describe(figures, world)
    if found is None:
        return ""
    total = sum(found["handovers"].values())
    if not total:
        return f"The monitor of {name} handed over nobody."
    reasons = ", ".join(f"{reason} {count:,.0f}" for reason, count in found["handovers"].items())
    return (
        f"The fallback flew {100 * found['share']:.3g} % of the aircraft-steps of {name}, after {total:,.0f} "
        f"hand-over{'s' * (total != 1)} ({reasons}) of {found['mean_s']:.1f} s on average."
    )
