"""How well do figures of the embedded simulator carry over to BlueSky? The same scenarios, flown in both.

    python tests/benchmarks/bench_simulators.py runs/clone runs/tuned --scenarios 40

Per contender and metric: the embedded figure and BlueSky's, each with its 95 % interval, and the paired difference
over the scenarios. A difference whose interval holds 0 cannot be told from none.
"""

import argparse
import time
import warnings
from dataclasses import replace
from typing import Any

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.evaluate.evaluation.config import UNRESOLVED, EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import BLUESKY_MVP, load_all
from skyclone.evaluate.evaluation.evaluation import evaluate
from skyclone.evaluate.metrics.formulas import METRICS, Basis, compute
from skyclone.train.runs import confidence_intervals
from skyclone.train.runs.confidence_intervals import Estimate, Ratio

SHOWN = (
    *("los_events", "los_merged", "conflicts", "ipr", "extra_distance"),
    *("waypoint_rate", "mean_speed_mps", "action_effort"),
)


def fly(plan: EvaluationConfig, workers: int) -> tuple[dict[str, dict[str, Ratio]], dict[str, float]]:
    """Return each contender's metrics as ratios, and the seconds it took."""
    evaluation = evaluate(plan, load_all(plan), workers)
    unresolved = evaluation.figures[UNRESOLVED]
    ratios = {name: compute(Basis(each, unresolved, plan.world)) for name, each in evaluation.figures.items()}
    return ratios, evaluation.seconds


def text_of(estimate: Estimate, unit: str) -> str:
    """Return an estimate as text."""
    factor = 100.0 if unit == "%" else 1.0
    values = [None if each is None else factor * each for each in (estimate.value, estimate.low, estimate.high)]
    return "-" if None in values else "{:.3g} [{:.3g}, {:.3g}]".format(*values)


def main() -> None:
    """Fly and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="trained policies")
    parser.add_argument("--baselines", default="none,mvp")
    parser.add_argument("--scenarios", type=int, default=40)
    parser.add_argument("--aircraft", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10, help="flown at once; BlueSky's own MVP is quadratic in it")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--simulator", default="bluesky")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    world = WorldConfig(aircraft=options.aircraft)
    plan = EvaluationConfig(
        tuple(name_all(options.runs, options.baselines)), world, options.scenarios, batch=options.batch
    )
    there = replace(
        plan,
        world=replace(world, simulator=options.simulator),
        contenders=tuple(name_all(options.runs, f"{options.baselines},{BLUESKY_MVP}")),
    )
    begin = time.perf_counter()
    flown: dict[str, tuple[dict[str, dict[str, Ratio]], Any]] = {}
    for name, each in (("embedded", plan), ("BlueSky", there)):
        flown[name] = fly(each, options.workers)
    weights = confidence_intervals.resample(plan.scenarios, plan.bootstrap, plan.seed)
    print(f"{options.scenarios} scenarios of {options.aircraft} aircraft, {time.perf_counter() - begin:.0f} s\n")
    print("| contender | metric | embedded | BlueSky | paired difference |\n|---|---|---|---|---|")
    (embedded, seconds), (bluesky, bluesky_seconds) = flown["embedded"], flown["BlueSky"]
    for contender in there.contenders:
        for name in SHOWN:
            unit, ratio = METRICS[name].unit, bluesky[contender.name][name]
            here = embedded.get(contender.name)
            cells = [
                text_of(confidence_intervals.estimate(here[name], weights), unit) if here else "-",
                text_of(confidence_intervals.estimate(ratio, weights), unit),
                text_of(confidence_intervals.difference(ratio, here[name], weights), unit) if here else "-",
            ]
            print(f"| {contender.name} | {METRICS[name].heading} | {' | '.join(cells)} |")
    for contender in there.contenders:
        spent = [f"{each[contender.name]:.1f} s" if contender.name in each else "-" for each in
                 (seconds, bluesky_seconds)]  # fmt: skip
        print(f"{contender.name}: embedded {spent[0]}, BlueSky {spent[1]}")


if __name__ == "__main__":
    main()
