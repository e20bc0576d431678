"""The verdict: what the intervals say, in one sentence that a controller understands.

Who stands still loses no separation. So three things are asked of two contenders: is one safer (losses of
separation, time in them, near mid-air collisions), does it arrive (aircraft at their waypoints, without progress,
out of the sector), and how long are its routes. Nobody is called safer whose aircraft arrive less, or may for all
that is shown, or whose fewer losses may last longer. That there is no difference is said only where the scenarios
had a good chance to show the smallest one that matters.
"""

from collections.abc import Sequence
from math import inf, isfinite, nan
from typing import NamedTuple

from ...train.runs.confidence_intervals import FEWEST_UNEQUAL, Estimate
from ...train.runs.gate import Margins
from ..metrics.formulas import METRICS
from ..metrics.numerals import NOTHING, counted, number, unit_of, with_interval, with_size, with_unit
from .config import UNRESOLVED
from .evaluation import Evaluation
from .mvp_front import LOSSES

NOTEWORTHY_SPEED = 0.02
"""From 2 % on, a change of the mean speed belongs into the verdict."""
NOTEWORTHY_SHARE = 0.25
"""More or fewer losses of separation matter from a quarter of the reference's on, or from the gate's margin."""
SAFETY = ("los_events", "time_in_los_s", "nmac_events")
ARRIVALS = ("waypoint_rate", "stalled_rate", "left_sector_rate")
ROUTE = ("extra_distance",)
ASPECTS = {"safety": SAFETY, "arrivals": ARRIVALS, "route length": ROUTE}
IN_DETAIL = ("los_events", "time_in_los_s", "waypoint_rate", "extra_distance")
"""The metrics whose figures always stand below the sentence; the others do where a difference was shown."""
PHRASES = {
    "los_events": ("has fewer losses of separation", "has more losses of separation"),
    "time_in_los_s": ("spends less time in LoS", "spends more time in LoS"),
    "nmac_events": ("has fewer near mid-air collisions", "has more near mid-air collisions"),
    "waypoint_rate": ("brings more aircraft to their waypoints", "brings fewer aircraft to their waypoints"),
    "stalled_rate": ("leaves fewer without progress for a minute", "leaves more without progress for a minute"),
    "left_sector_rate": ("lets fewer leave the sector", "lets more leave the sector"),
    "extra_distance": ("flies shorter routes", "flies longer routes"),
}
"""What is said of a metric that is better, and of one that is worse."""
_MIXED = 2


class Verdict(NamedTuple):
    """What came out, in words.

    Attributes:
        headline: One sentence about the contender it is all about.
        details: The figures behind it, a sentence each.
    """

    headline: str
    details: list[str]


class Finding(NamedTuple):
    """What the scenarios say about one metric of two contenders.

    Attributes:
        sign: -1 shown to be better, 1 shown to be worse, 0 neither.
        is_known: Whether one of them was shown, or would probably have been, were the difference one that matters.
        may_be_worse: Whether the interval holds what is worse by as much as matters.
        detectable: The smallest difference that could have been shown.
        text: Both values.
    """

    sign: int
    is_known: bool
    may_be_worse: bool
    detectable: float
    text: str


Findings = dict[str, Finding]


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
        smallest = evaluation.detectable(subject, reference)
        for name in PHRASES:
            if name in difference and (name in IN_DETAIL or shown(difference[name])):
                details.append(_detail(evaluation, subject, reference, name, smallest[name]))
    details.append(against_front(evaluation, subject))
    return Verdict(headline, [text for text in details if text])


def compare(evaluation: Evaluation, subject: str, reference: str) -> str:
    """Say in a sentence whether one contender is safer than another, whether it arrives, and by which routes."""
    one, other = called(evaluation, subject), called(evaluation, reference)
    if are_same(evaluation, subject, reference):
        return f"{one} is {other}: their weights are the same."
    scenarios = evaluation.plan.scenarios
    if scenarios == 1:
        return f"One scenario is too few to tell {one} from {other}."
    found = findings(evaluation, subject, reference)
    signs = {
        aspect: _overall([found[name] for name in names if name in found]) for aspect, names in ASPECTS.items()
    }
    text = _lead(one, other, found, signs)
    subject_again = "it" if text else one
    if not _is_route_fair(signs):
        del signs["route length"]  # who does not arrive flies no long way
    open_, same = _without_difference(found, signs)
    few = f"{counted(scenarios, 'scenario')} are too few to tell"
    lasting = ["time in LoS"] if signs["safety"] == -1 and _is_left_open(found.get("time_in_los_s")) else []
    if text and (open_ or lasting):
        text += f"; {few} about {_listed([*lasting, *open_], 'or')}"
    elif open_:
        text = f"{few} {one} from {other} in {_listed(open_, 'or')}"
    if same and text:
        text += f"; no difference in {_listed(same, 'or')} was shown"
    elif same:
        text = f"No difference between {one} and {other} was shown in {_listed(same, 'or')}"
    if signs.get("route length") and not _is_plain(signs):
        text += f"; {subject_again} {_phrases(found, ROUTE)[0]}"
    text += _speed(evaluation, subject, reference)
    return f"{text}{_smallest(found, [*open_, *same], scenarios)}."


def findings(evaluation: Evaluation, subject: str, reference: str) -> Findings:
    """Return what the scenarios say about each metric of the verdict that both contenders have."""
    smallest = evaluation.detectable(subject, reference)
    found = {}
    for name in PHRASES:
        gap = evaluation.differences[subject][reference].get(name, Estimate(nan, nan, nan))
        values = [evaluation.estimates[who].get(name, gap) for who in (subject, reference)]
        if not all(isfinite(each.value) for each in (gap, *values)):
            continue
        least = that_matters(evaluation, reference, name)
        is_less_better = METRICS[name].better == "less"
        sign = shown(gap) * (1 if is_less_better else -1)
        if name in ARRIVALS and abs(gap.value) < least:
            sign = 0
        own, before = (with_unit(each, METRICS[name]) for each in values)
        worst = gap.high if is_less_better else -gap.low
        found[name] = Finding(
            sign,
            bool(sign) or smallest[name] <= least,
            not worst <= least,
            smallest[name],
            f"{own} instead of {before}",
        )
    return found


def that_matters(evaluation: Evaluation, reference: str, name: str) -> float:
    """Return the smallest difference in a metric of the verdict that matters.

    It is what the gate of fine-tuning lets pass (`gate.Margins`). Of losses of separation, time in them and near
    mid-air collisions it is a quarter of the reference's figure, if that is more.

    Args:
        evaluation: What came out.
        reference: Whom a contender is held against.
        name: The metric.
    """
    margins = Margins.of(evaluation.plan.world)
    if name not in SAFETY:
        return margins.extra_distance if name in ROUTE else margins.waypoint_rate
    flights = float(evaluation.figures[reference].aircraft.mean())
    per_flight = margins.los_s_per_flight if name == "time_in_los_s" else margins.los_per_flight
    return max(per_flight * flights, NOTEWORTHY_SHARE * evaluation.estimates[reference][name].value)


def against_front(evaluation: Evaluation, name: str) -> str:
    """Say in a sentence how a contender compares with the front of the MVP family; "" if that is not known."""
    if evaluation.front is None or name not in evaluation.front.positions:
        return ""
    place, metric = evaluation.front.positions[name]["extra_distance"], METRICS[LOSSES]
    gap, interval = with_interval(place.difference, metric, is_difference=True)
    if not interval:
        return ""
    where = {-1: "ahead of", 0: "not told from", 1: "behind"}[shown(place.difference)]
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


def _overall(found: Sequence[Finding]) -> int:
    """Return the sign that all metrics with a difference share; 0 if none has one, `_MIXED` if they disagree."""
    signs = {each.sign for each in found} - {0}
    return signs.pop() if len(signs) == 1 else _MIXED if signs else 0


def _is_plain(signs: dict[str, int]) -> bool:
    """Return whether safer, or less safe, is the whole story: arrivals do not say the opposite."""
    return abs(signs["safety"]) == 1 and signs["arrivals"] in (0, signs["safety"])


def _is_route_fair(signs: dict[str, int]) -> bool:
    """Return whether routes can be compared: the shorter ones are not those of aircraft that never arrive."""
    return signs["arrivals"] == 0 or signs["route length"] in (0, signs["arrivals"])


def _lead(one: str, other: str, found: Findings, signs: dict[str, int]) -> str:
    """Say which differences in safety and arrivals were shown; "" if none was."""
    safety, arrivals = signs["safety"], signs["arrivals"]
    if not safety and not arrivals:
        return ""
    if not _is_plain(signs):
        good, bad = (_phrases(found, (*ARRIVALS, *SAFETY), sign) for sign in (-1, 1))
        if (safety, arrivals) == (-1, 1) and _phrases(found, ARRIVALS[:1], 1):
            but = _listed(_phrases(found, SAFETY, -1, with_values=False))
            return f"Against {other}, {one} {_listed(bad)}; that it {but} does not make it safer"
        return f"Against {other}, {one} {', but '.join(_listed(each) for each in (good, bad) if each)}"
    if safety == -1 and any(_is_left_open(found.get(name)) for name in ("time_in_los_s", "waypoint_rate")):
        parts, one = _phrases(found, SAFETY, -1), f"Against {other}, {one}"
    else:
        parts = [f"is {'safer' if safety < 0 else 'less safe'} than {other}"]
    parts += _phrases(found, ARRIVALS)
    route = signs["route length"]
    if route == safety:
        parts += _phrases(found, ROUTE)
    return f"{one} {_listed(parts)}" + (f" but {_phrases(found, ROUTE)[0]}" if route == -safety else "")


def _is_left_open(finding: Finding | None) -> bool:
    """Return whether a metric may be worse by as much as matters, for all that these scenarios show."""
    return finding is None or (not finding.is_known and finding.may_be_worse)


def _phrases(found: Findings, names: Sequence[str], sign: int | None = None, with_values: bool = True) -> list[str]:
    """Return what is said of the metrics with a difference, or of those with this sign."""
    texts = []
    for name in names:
        each = found.get(name)
        if each and each.sign and sign in (None, each.sign):
            values = f" ({each.text})" if with_values and name not in ROUTE else ""
            texts.append(PHRASES[name][each.sign > 0] + values)
    return texts


def _without_difference(found: Findings, signs: dict[str, int]) -> tuple[list[str], list[str]]:
    """Return the aspects that these scenarios leave open, and those in which they show no difference."""
    alike = [aspect for aspect, sign in signs.items() if sign == 0]
    open_ = [each for each in alike if _open_metrics(found, each) or not _metrics(found, each)]
    same = [each for each in alike if each not in open_]
    if signs["safety"] and "arrivals" in same:
        same.remove("arrivals")  # what one expects of a safer one
    return open_, same


def _metrics(found: Findings, aspect: str) -> list[str]:
    """Return the metrics that decide an aspect; aircraft without progress and out of the sector only add to it."""
    names = ARRIVALS[:1] if aspect == "arrivals" else ASPECTS[aspect]
    return [name for name in names if name in found]


def _open_metrics(found: Findings, aspect: str) -> list[str]:
    """Return the metrics of an aspect about which these scenarios are too few to tell."""
    return [name for name in _metrics(found, aspect) if not found[name].is_known]


def _smallest(found: Findings, aspects: list[str], scenarios: int) -> str:
    """Say how small a difference could have been shown in the aspects in which none was."""
    names = [each for aspect in aspects for each in (_open_metrics(found, aspect) or _metrics(found, aspect))[:1]]
    if names and scenarios < FEWEST_UNEQUAL:
        return f" (fewer than {FEWEST_UNEQUAL} scenarios show none)"
    sizes = [_size(name, found[name].detectable) for name in names if found[name].detectable > 0]
    return f" (the scenarios could have shown {_listed(sizes)})" if sizes else ""


def _size(name: str, size: float) -> str:
    """Return a difference of a metric with its unit, such as "0.05 losses of separation per scenario"."""
    what = {
        "los_events": " losses of separation per scenario",
        "time_in_los_s": " in LoS per scenario",
        "nmac_events": " near mid-air collisions per scenario",
        "waypoint_rate": " of arrivals",
        "extra_distance": " of extra distance",
    }[name]
    return with_size(size, METRICS[name]) + what


def _listed(texts: Sequence[str], word: str = "and") -> str:
    """Return texts as a list in a sentence."""
    return f" {word} ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _speed(evaluation: Evaluation, subject: str, reference: str) -> str:
    """Say at which other speed a contender flies; "" if it does not."""
    gap = evaluation.differences[subject][reference]["mean_speed_mps"]
    mps = evaluation.estimates[subject]["mean_speed_mps"].value
    if not shown(gap) or abs(gap.value) < NOTEWORTHY_SPEED * abs(mps - gap.value):
        return ""
    how = "slower" if gap.value < 0 else "faster"
    return f"; it flies {how} ({mps:.1f} m/s instead of {mps - gap.value:.1f})"


def _detail(evaluation: Evaluation, subject: str, reference: str, name: str, smallest: float) -> str:
    """Say in a sentence how two contenders differ in one metric; "" if it cannot be said."""
    metric = METRICS[name]
    difference = evaluation.differences[subject][reference][name]
    values = [evaluation.estimates[who][name] for who in (subject, reference)]
    if not all(isfinite(value.value) for value in values):
        return ""
    own, other = (with_unit(value, metric) for value in values)
    what = {"los_events": "Losses of separation", "nmac_events": "Near mid-air collisions"}
    title = what.get(name, metric.title[0].upper() + metric.title[1:])
    title += " per scenario" if name in SAFETY else ""
    text = f"{title}: {own} with {called(evaluation, subject)}, {other} with {called(evaluation, reference)}"
    gap, interval = with_interval(difference, metric, is_difference=True)
    if not interval or NOTHING in (own, other):
        return f"{text}."
    low, high = interval.strip("[]").split(", ")
    unit = unit_of(metric, is_difference=True)
    text += f"; difference {gap}{unit} (95 % interval {low} to {high}{unit})"
    if not shown(difference) and 0 < smallest < inf:
        text += f"; {with_size(smallest, metric)} could have been shown"
    return f"{text}."
