"""What an agent-step costs in large traffic, beside what it costs at 20 aircraft; and beside BlueSky.

    python tests/benchmarks/bench_size.py --turns 3

The density is that of the reference world: the sector grows with the traffic. Everything takes turns; printed are
processor time per agent-step (median of the turns) and its ratio to that at 20 aircraft (median, least and most).
BlueSky flies and resolves by itself, its own MVP, where it is installed; ours is the teacher `mvp`.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from statistics import median

import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.environments import SectorVectorEnv
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.teachers.registry import make
from skyclone.evaluate.evaluation.config import name_all
from skyclone.evaluate.evaluation.contenders import BLUESKY_MVP, load
from skyclone.train.finetuning.ppo import Actor
from skyclone.train.finetuning.rollout import Crew
from skyclone.train.policy import load_policy

REFERENCE, SIZES, AT_ONCE = 20, (200, 1000, 5000), 4000
POLICY = "pretrained:tuned"


def world_of(aircraft: int, steps: int, **changes: str) -> WorldConfig:
    """Return the reference world with more aircraft, its sector as much larger."""
    here, scale = WorldConfig(), aircraft / REFERENCE
    radius_m, area_m2 = here.sector_radius_m * scale**0.5, here.sector_area_m2 * scale
    return WorldConfig(
        aircraft=aircraft, sector_radius_m=radius_m, sector_area_m2=area_m2, max_steps=steps, **changes
    )


def episodes_of(aircraft: int) -> range:
    """Return the episodes flown at once: about as many aircraft at every size."""
    return range(max(1, AT_ONCE // aircraft))


def collecting(aircraft: int) -> int:
    """Record what mvp flies; return the agent-steps."""
    config = world_of(aircraft, 60)
    table, _ = record(config, 0, episodes_of(aircraft), make("mvp", config))
    return len(table["step"])


def evaluating(aircraft: int) -> int:
    """Fly a policy, and count."""
    pilot = load_policy(POLICY).pilot
    return int(fly_scenarios(pilot, world_of(aircraft, 20), 0, episodes_of(aircraft)).steps.sum())


def rolling_out(aircraft: int) -> int:
    """Fly a policy for PPO."""
    policy = load_policy(POLICY)
    crew = Crew(
        world_of(aircraft, 300, reward="detour"), 0, len(episodes_of(aircraft)), policy.view, spread_steps=0
    )
    flown = crew.fly(Actor(deepcopy(policy.network), -3.0), 15, torch.Generator().manual_seed(0))
    return int(flown.is_flying.sum())


def stepping(aircraft: int) -> int:
    """Step the environment with the teacher's actions."""
    envs = SectorVectorEnv(len(episodes_of(aircraft)), world_of(aircraft, 300), "ego:intruders=12")
    observation, infos = envs.reset(seed=0)
    rows = 0
    for _ in range(20):
        rows += int(observation["is_flying"].sum())
        observation, _, _, _, infos = envs.step(infos["teacher_action"])
    return rows


def cost_of(work: Callable[[int], int], aircraft: int) -> float:
    """Return processor time per agent-step, us."""
    start = time.process_time()
    rows = work(aircraft)
    return 1e6 * (time.process_time() - start) / rows


def beside_bluesky(turns: int) -> None:
    """Print what an agent-step costs where BlueSky flies, and where we do."""
    try:
        import bluesky  # noqa: F401
    except ImportError:
        print("BlueSky is not installed: pip install 'skyclone[bluesky]'")
        return
    for aircraft in (200, 2000):
        found: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns + 1):
            for costs, name, simulator in zip(found, (BLUESKY_MVP, "mvp"), ("bluesky", "embedded"), strict=True):
                config = world_of(aircraft, 10, simulator=simulator)
                pilot = load(name_all([], name)[0], config).pilot
                cost = cost_of(lambda _, p=pilot, c=config: int(fly_scenarios(p, c, 0, [0]).steps.sum()), 0)
                if turn:  # the first one starts BlueSky
                    costs.append(cost)
        ratios = [theirs / ours for theirs, ours in zip(*found, strict=True)]
        print(
            f"  {aircraft:5d} aircraft: BlueSky {median(found[0]):9.1f} us, ours {median(found[1]):6.2f} us, "
            f"{median(ratios):.0f} times [{min(ratios):.0f} to {max(ratios):.0f}]"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for work in (collecting, evaluating, rolling_out, stepping):
        for size in (REFERENCE, SIZES[0]):
            work(size)  # compile, load
        costs: dict[int, list[float]] = {size: [] for size in (REFERENCE, *SIZES)}
        for _ in range(turns):
            for size, found in costs.items():
                found.append(cost_of(work, size))
        print(f"{work.__name__}: {median(costs[REFERENCE]):.2f} us at {REFERENCE} aircraft", flush=True)
        for size in SIZES:
            ratios = [cost / reference for cost, reference in zip(costs[size], costs[REFERENCE], strict=True)]
            print(
                f"  {size:5d} aircraft: {median(costs[size]):6.2f} us, {median(ratios):.2f} times "
                f"[{min(ratios):.2f} to {max(ratios):.2f}]",
                flush=True,
            )
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    print(f"{BLUESKY_MVP} in BlueSky beside mvp in ours, processor time per agent-step:")
    beside_bluesky(turns)


if __name__ == "__main__":
    main()
