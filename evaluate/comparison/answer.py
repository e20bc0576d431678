"""What a comparison says, in sentences: differences with their intervals, or that nothing can be told apart."""

from ...train.runs.intervals import Estimate
from .table import Difference, Table

PAPER = "Groot, Ellerbroek, Hoekstra (2025)"
ENCODERS = {"attention-dot": "dot-product", "attention-context": "context-aware", "lstm": "LSTM"}
"""The encoders that additive attention beat there, by the name of the model here."""


def answer(table: Table) -> list[str]:
    """Return the sentences, one for each budget and view, and one for the question of the paper."""
    lines = []
    groups: dict[tuple[str, str], list[Difference]] = {}
    for each in table.differences:
        groups.setdefault((each.row.budget.name, each.row.variant.observation), []).append(each)
    for (budget, view), differences in groups.items():
        reference = differences[0].reference.variant.model
        parts = [f"{each.row.variant.model} {_loss(each)}" for each in differences]
        lines.append(f"Held-out MSE after {budget} on {view}, against {reference}: {'; '.join(parts)}.")
        parts = [f"{each.row.variant.model} {_los(each)}" for each in differences]
        lines.append(f"LoS events per scenario, the same: {'; '.join(parts)}.")
        lines += _question(budget, view, differences)
    if not lines:
        lines.append("Nothing to hold against one another: give two models or more on the same view.")
    return lines


def _question(budget: str, view: str, differences: list[Difference]) -> list[str]:
    """Answer the paper's question, as far as its encoders were compared."""
    asked = [each for each in differences if _base(each.row.variant.model) in ENCODERS]
    if not asked or _base(asked[0].reference.variant.model) != "attention-additive":
        return []
    words = {"worse": "yes", "better": "no, the other way round", "not told apart": "not told apart"}
    parts = [f"{ENCODERS[_base(each.row.variant.model)]}: {words[each.loss_verdict]}" for each in asked]
    return [
        f"Does additive attention beat the others, as {PAPER} found for SAC? For imitation, by held-out MSE "
        f"({budget}, {view}): {'; '.join(parts)}."
    ]


def _base(model: str) -> str:
    """Return a model's name without its parameters."""
    return model.partition(":")[0]


def _loss(each: Difference) -> str:
    """Say how the losses compare."""
    ratio = each.loss_ratio
    return f"x {ratio.value:.3g}{_interval(ratio, '.3g')} ({each.loss_verdict})"


def _los(each: Difference) -> str:
    """Say how the losses of separation compare; the interval over scenarios, and that over seeds."""
    scenarios, seeds = each.los
    return (
        f"{scenarios.value:+.3g}{_interval(scenarios, '+.2g')} over scenarios,"
        f"{_interval(seeds, '+.2g') or ' none'} over seeds ({each.los_verdict})"
    )


def _interval(estimate: Estimate, form: str) -> str:
    """Return an interval with a space before it, "" if there is none."""
    if estimate.low != estimate.low:
        return ""
    return f" [{estimate.low:{form}}, {estimate.high:{form}}]"
