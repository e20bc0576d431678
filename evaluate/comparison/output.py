"""What a comparison leaves in its folder: `compare.json`, `compare.csv`, `compare.md` and `compare.png`.

The first and the third also hold the answer in sentences: differences with their intervals, or that the variants
cannot be told apart.
"""

import csv
import io
import json
from math import isfinite
from pathlib import Path
from typing import Any

from ...collect.surveillance.config import PERFECT
from ...datasets.files.atomic import check_ours, clean, publish_together
from ...train.runs.confidence_intervals import Estimate
from ..evaluation.verdict import ARRIVALS
from ..metrics.formulas import METRICS
from ..metrics.numerals import NOTHING, counted, with_interval
from .table import FLOWN, NOTES, TRAINED, Difference, Row, Table, to_json

NAMES = ("compare.json", "compare.csv", "compare.md", "compare.png")
PAPER = "Groot, Ellerbroek, Hoekstra (2025)"
ENCODERS = {"attention-dot": "dot-product", "attention-context": "context-aware", "lstm": "LSTM"}
"""The encoders that additive attention beat there, by the name of the model here."""
TITLES = {
    "los_events": "LoS events per scenario",
    "time_in_los_s": "Time in LoS per scenario (s)",
    "nmac_events": "NMAC events per scenario",
    "waypoint_rate": "Waypoint rate (points)",
    "stalled_rate": "Aircraft without progress for a minute (points)",
    "left_sector_rate": "Aircraft that left the sector (points)",
}
"""The closed-loop metrics of the answer, and how it calls them."""
ALWAYS = ("los_events", "time_in_los_s", "waypoint_rate")
"""Those of which it always says something; of the others it does where a difference was shown."""
_SHOWN = ("heldout_mse", "heldout_mse_conflict", "heldout_mse_free", "sharpness", "samples_per_processor_second")
_SPENT = ("steps", "processor_s", "wall_s")


def check_names(folder: Path) -> None:
    """Check, before anything is trained, that no file which skyclone did not write would be replaced.

    Raises:
        ConfigurationError: There is one.
    """
    is_ours = (folder / NAMES[0]).exists()  # written first: who wrote it wrote the others
    for name in NAMES[:1] if is_ours else NAMES:
        check_ours(folder / name, b'"answer": [', "a comparison")


def write(folder: Path, table: Table) -> dict[str, Any]:
    """Write the four files in one step, and return the JSON object."""
    from .plot import draw  # matplotlib takes a second to import

    result = to_json(table, answer(table))
    clean(folder)
    data = json.dumps(result, indent=1, allow_nan=False).encode() + b"\n"
    contents = (data, to_csv(table).encode(), to_markdown(table).encode(), draw(table))
    publish_together({folder / name: content for name, content in zip(NAMES, contents, strict=True)})
    return result


def to_csv(table: Table) -> str:
    """Return a row for each budget and variant and for each reference; empty where there is no figure."""
    names = (*TRAINED, *METRICS)
    head = ["budget", "variant", "model", "observation", "lr", "parameters", "seeds", "failed_seeds"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*head, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
    for row in table.rows:
        variant, seeds = row.variant, table.comparison.plan.seeds
        known = [row.budget.name, variant.name, variant.model, variant.observation, row.lr, row.parameters]
        counts = [" ".join(map(str, seeds)), " ".join(map(str, row.failed))]
        estimates = {name: spread.estimate for name, spread in row.figures.items()}
        writer.writerow([*known, *counts, *_cells(estimates, names)])
    for name, estimates in table.references.items():
        writer.writerow(["", name, *[""] * (len(head) - 2), *_cells(estimates, names)])
    return buffer.getvalue()


def _cells(estimates: dict[str, Estimate], names: tuple[str, ...]) -> list[str]:
    """Return value, low and high of each figure."""
    nothing = dict.fromkeys(("value", "low", "high"))
    parts = [estimates[name].to_json() if name in estimates else nothing for name in names]
    return ["" if value is None else f"{value:.6g}" for part in parts for value in part.values()]


def to_markdown(table: Table) -> str:
    """Return a table for each budget, for a README, and the answer below."""
    lines = []
    for budget in table.comparison.plan.budgets:
        rows = [row for row in table.rows if row.budget == budget]
        lines += [f"**Equal budget: {budget.name}** ({_conditions(table)})", "", *_table(table, rows), ""]
    lines += [f"- {line}" for line in (*answer(table), *_failures(table), *NOTES)]
    return "\n".join(lines) + "\n"


def _failures(table: Table) -> list[str]:
    """Return which trainings are left out of the table."""
    failed = [(f"{row.variant.name} after {row.budget.name}", row.failed) for row in table.rows if row.failed]
    return [
        f"{name} met NaN or infinity with seed {', '.join(map(str, seeds))}: left out." for name, seeds in failed
    ]


def _conditions(table: Table) -> str:
    """Return what the figures rest on."""
    plan = table.comparison.plan
    chosen = "learning rate chosen for each" if table.comparison.sweep else f"learning rate {plan.rates[0]:g}"
    weighted = f"rows in conflict {plan.conflict_weight:g} times as often, " if plan.conflict_weight != 1 else ""
    known = plan.surveillance or PERFECT
    under = "" if known == PERFECT else f"surveillance {known}, labels: {plan.labels}; "
    return (
        f"{under}{counted(len(plan.seeds), 'seed')}, batch {plan.batch_size}, {plan.schedule}, {weighted}"
        f"{chosen}; {counted(plan.scenarios, 'scenario')} of {table.comparison.world.aircraft} aircraft"
    )


def _table(table: Table, rows: list[Row]) -> list[str]:
    """Return the lines of a budget's table."""
    heads = ["variant", "lr", "weights", *(TRAINED[name] for name in _SHOWN)]
    heads += ["steps / processor s / wall s", *(METRICS[name].heading for name in FLOWN)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [f"{row.variant.model} on {row.variant.observation}", f"{row.lr:g}", f"{row.parameters:,}"]
        cells += [_trained(row.figures[name].estimate) for name in _SHOWN]
        cells.append(" / ".join(_whole(row.figures[name].estimate) for name in _SPENT))
        cells += [_flown(row.figures[name].estimate, name) for name in FLOWN]
        lines.append("| " + " | ".join(cells) + " |")
    for name, estimates in table.references.items():
        cells = [name, *[""] * (3 + len(_SHOWN)), *(_flown(estimates[key], key) for key in FLOWN)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _trained(estimate: Estimate) -> str:
    """Return a figure of the training with half the width of its interval."""
    if estimate.value != estimate.value:
        return NOTHING
    if estimate.value >= 1000:
        return f"{estimate.value:,.0f}"
    half = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.3g}" + ("" if half != half else f" ± {half:.1g}")


def _whole(estimate: Estimate) -> str:
    """Return a whole number."""
    return NOTHING if estimate.value != estimate.value else f"{estimate.value:,.0f}"


def _flown(estimate: Estimate, name: str) -> str:
    """Return a closed-loop figure with its interval."""
    return " ".join(with_interval(estimate, METRICS[name])).strip()


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
        for name, title in TITLES.items():
            if name in ALWAYS or any(each.verdict_on(name) != "not told apart" for each in differences):
                parts = [f"{each.row.variant.model} {_closed_loop(each, name)}" for each in differences]
                lines.append(f"{title}, the same: {'; '.join(parts)}.")
        lines += _question(budget, view, differences)
    if not lines:
        lines.append("Nothing to compare: give two models or more on the same view.")
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
    """Return how the held-out losses compare."""
    ratio = each.loss_ratio
    return f"x {ratio.value:.3g}{_interval(ratio, '.3g')} ({each.loss_verdict})"


def _closed_loop(each: Difference, name: str) -> str:
    """Return how a closed-loop metric compares: the intervals over scenarios and over seeds."""
    factor = 100.0 if METRICS[name].unit == "%" else 1.0
    scenarios, seeds = (Estimate(*(factor * part for part in estimate)) for estimate in each.flown[name])
    word, smallest = each.verdict_on(name), factor * each.detectable[name]
    if word == "not told apart":
        word += f"; the scenarios could have shown {smallest:.2g}" if isfinite(smallest) else "; too few scenarios"
    elif word == "better" and name not in ARRIVALS and each.arrivals_verdict == "worse":
        word = "less, but not safer: see the arrivals"
    return (
        f"{scenarios.value:+.3g}{_interval(scenarios, '+.3g')} over scenarios,"
        f"{_interval(seeds, '+.3g') or ' none'} over seeds ({word})"
    )


def _interval(estimate: Estimate, form: str) -> str:
    """Return an interval with a space before it, "" if there is none."""
    if estimate.low != estimate.low:
        return ""
    return f" [{estimate.low:{form}}, {estimate.high:{form}}]"
