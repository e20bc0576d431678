"""The verdict: what the intervals say, in one sentence that a controller understands."""

from math import isfinite
from typing import NamedTuple

from ...train.runs.confidence_intervals import Estimate
from ..metrics.formulas import METRICS
from ..metrics.numerals import number, unit_of, with_interval, with_unit
from .config import UNRESOLVED
from .evaluation import Evaluation
from .mvp_front import LOSSES

NOTEWORTHY_ARRIVALS = 0.005
"""From half a percent of the aircraft on, fewer arrivals belong into the verdict."""
NOTEWORTHY_SPEED = 0.02
"""From 2 % on, a change of the mean speed belongs into the verdict."""


class Verdict(NamedTuple):
    """What came out, in words.

    Attributes:
        headline: One sentence about the contender it is all about.
        details: The figures behind it, a sentence each.
    """

    headline: str
    details: list[str]


def judge(evaluation: Evaluation) -> Verdict:
    """Return the verdict on the last run (else the last baseline) against its references."""
    against = evaluation.differences
    subject = next(reversed(against), None)
    if subject is None:
        return Verdict("There is one contender: nothing to compare.", [])
    headline = ""
    details: list[str] = []
    for reference, difference in against[subject].items():
        sentence = compare(evaluation, subject, reference)
        headline, details = (headline, [*details, sentence]) if headline else (sentence, details)
        if are_same(evaluation, subject, reference):
            continue
        names = ["los_events", "extra_distance", *(["waypoint_rate"] if shown(difference["waypoint_rate"]) else [])]
        details += [_detail(evaluation, subject, reference, name) for name in names]
    details.append(against_front(evaluation, subject))
    return Verdict(headline, [text for text in details if text])


def compare(evaluation: Evaluation, subject: str, reference: str) -> str:
    """Say in a sentence whether one contender is safer than another and flies shorter."""
    if are_same(evaluation, subject, reference):
        return f"{called(evaluation, subject)} is {called(evaluation, reference)}: their weights are the same."
    difference = evaluation.differences[subject][reference]
    safety, path = shown(difference["los_events"]), shown(difference["extra_distance"])
    one, other = called(evaluation, subject), called(evaluation, reference)
    routes = {-1: "shorter routes", 1: "longer routes"}
    if not safety and not path:
        text = f"No difference between {one} and {other} was shown, neither in safety nor in route length"
    elif not safety:
        text = f"No difference in safety between {one} and {other} was shown; {one} flies {routes[path]}"
    else:
        text = f"{one} is {'safer' if safety < 0 else 'less safe'} than {other}"
        if not path:
            text += "; no difference in route length was shown"
        else:
            text += f" {'and' if safety == path else 'but'} flies {routes[path]}"
    return text + _reservations(evaluation, subject, reference) + "."


def against_front(evaluation: Evaluation, name: str) -> str:
    """Say in a sentence how a contender compares with the front of the MVP family; "" if that is not known."""
    if evaluation.front is None or name not in evaluation.front.positions:
        return ""
    place, metric = evaluation.front.positions[name]["extra_distance"], METRICS[LOSSES]
    gap, interval = with_interval(place.difference, metric, is_difference=True)
    if not interval:
        return ""
    where = {-1: "ahead of", 0: "not shown to be off", 1: "behind"}[shown(place.difference)]
    own, bounds = evaluation.estimates[name][LOSSES], interval.strip("[]").replace(", ", " to ")
    return (
        f"{called(evaluation, name)} is {where} the front of the MVP family (35 settings): at its extra "
        f"distance the best of them lose separation {number(place.front, 2)} times per flight hour, it does "
        f"{number(own.value, 2)} times; difference {gap} (95 % interval {bounds})."
    )


def are_same(evaluation: Evaluation, one: str, other: str) -> bool:
    """Return whether two runs are one policy: fine-tuning publishes the clone where it found nothing better."""
    metas = [evaluation.meta.get(name, {}) for name in (one, other)]
    weights, monitors = ([meta.get(key) for meta in metas] for key in ("weights_sha256", "assurance"))
    return weights[0] is not None and weights[0] == weights[1] and monitors[0] == monitors[1]


def shown(difference: Estimate) -> int:
    """Return the sign of a difference whose interval excludes 0; 0 if none was shown."""
    if not (isfinite(difference.low) and isfinite(difference.high)) or difference.low <= 0 <= difference.high:
        return 0
    return 1 if difference.value > 0 else -1


def called(evaluation: Evaluation, name: str) -> str:
    """Return how a contender is called in a sentence."""
    return "no resolution" if name == UNRESOLVED else evaluation.plan.short_names[name]


def _reservations(evaluation: Evaluation, subject: str, reference: str) -> str:
    """Say what the headline must not hide: fewer arrivals, another speed."""
    difference = evaluation.differences[subject][reference]
    own = evaluation.estimates[subject]
    texts = []
    arrivals, speed = difference["waypoint_rate"], difference["mean_speed_mps"]
    if shown(arrivals) < 0 and -arrivals.value >= NOTEWORTHY_ARRIVALS:
        rate = 100 * own["waypoint_rate"].value
        before = rate - 100 * arrivals.value
        texts.append(f"brings fewer aircraft to their waypoints ({rate:.1f} % instead of {before:.1f} %)")
    mps = own["mean_speed_mps"].value
    if shown(speed) and abs(speed.value) >= NOTEWORTHY_SPEED * abs(mps - speed.value):
        how = "slower" if speed.value < 0 else "faster"
        texts.append(f"flies {how} ({mps:.1f} m/s instead of {mps - speed.value:.1f})")
    return f"; it {' and '.join(texts)}" if texts else ""


def _detail(evaluation: Evaluation, subject: str, reference: str, name: str) -> str:
    """Say in a sentence how two contenders differ in one metric; "" if it cannot be said."""
    metric = METRICS[name]
    difference = evaluation.differences[subject][reference][name]
    values = [evaluation.estimates[who][name] for who in (subject, reference)]
    if not isfinite(difference.low) or not all(isfinite(value.value) for value in values):
        return ""
    own, other = (with_unit(value, metric) for value in values)
    gap, interval = with_interval(difference, metric, is_difference=True)
    low, high = interval.strip("[]").split(", ")
    unit = unit_of(metric, is_difference=True)
    what = {"los_events": "Losses of separation per scenario"}.get(name, metric.title.capitalize())
    return (
        f"{what}: {own} with {called(evaluation, subject)}, {other} with {called(evaluation, reference)}; "
        f"difference {gap}{unit} (95 % interval {low} to {high}{unit})."
    )
