"""What goes into a report, and the flights that are flown for it alone."""

from dataclasses import dataclass, field

from ...collect.collector.workers import one_thread
from ...datasets.provenance import code_version, package_versions
from ..attention.attention import Attention, watch
from ..evaluation.assured import split
from ..evaluation.contenders import Loaded
from ..evaluation.evaluation import Evaluation
from . import learning_curves
from .learning_curves import Curve
from .replay import Replay, record

WATCHED_SCENARIOS, REPLAYED_SCENARIOS = 32, 4
"""How many of the scenarios are flown again for the attention, and how many for the replay."""
WATCHED_FLIGHTS = 4096
"""Flights of single aircraft watched for the attention at most, but two scenarios at the least."""
REPLAYED_FLIGHTS = 900
"""Flights of single aircraft in a replay at most; many aircraft and contenders make it fewer scenarios."""


def _code() -> str:
    """Return the versions of the code that runs."""
    packages = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return f"skyclone {code_version()}; {packages}"


@dataclass(frozen=True)
class Report:
    """What goes into a report.

    Attributes:
        evaluation: The figures.
        command: The command that made them.
        made_at: When.
        attention: What each policy with attention looks at, by name.
        curves: Learning curves by run and title.
        replay: From `replay.record`; None for a report without.
        code: The versions of the code that flew.
    """

    evaluation: Evaluation
    command: str = ""
    made_at: str = ""
    attention: dict[str, Attention] = field(default_factory=dict)
    curves: dict[str, dict[str, list[Curve]]] = field(default_factory=dict)
    replay: Replay | None = None
    code: str = field(default_factory=_code)


def gather(evaluation: Evaluation, loaded: dict[str, Loaded], command: str = "", made_at: str = "") -> Report:
    """Return the report on an evaluation; its contenders fly a few scenarios once more.

    Args:
        evaluation: The figures.
        loaded: The contenders, by name.
        command: The command that made it.
        made_at: When.
    """
    plan = evaluation.plan
    shown = [loaded[contender.name] for contender in plan.contenders]
    trained = {each.contender.name: each.policy for each in shown if each.policy}
    watched = max(2, min(WATCHED_SCENARIOS, WATCHED_FLIGHTS // plan.world.aircraft))
    replayed = max(1, min(REPLAYED_SCENARIOS, REPLAYED_FLIGHTS // (len(shown) * plan.world.aircraft)))
    with one_thread():
        episodes = range(min(watched, plan.scenarios))
        attention = {
            name: watch(policy, plan.world, plan.seed, episodes, plan.device) for name, policy in trained.items()
        }
        scenarios = range(min(replayed, plan.scenarios))
        replay = record(shown, plan.world, plan.seed, scenarios, plan.device, shares=plan.shares)
    return Report(
        evaluation,
        command,
        made_at,
        attention={name: figures for name, figures in attention.items() if figures},
        curves={name: learning_curves.read(split(name)[0]) for name in trained},
        replay=replay,
    )
