"""What collecting spends its time on; and the kernels' detection and MVP beside torch's, on the same states.

    python tests/benchmarks/bench_shares.py --turns 9

One shard of the reference world, 128 episodes of 20 aircraft flown by `mvp`, on one core. Processor time; the
median of the turns and [least to most]. Recording is what a flight takes longer that writes rows; the rest is what
collecting a shard takes beside all that is named: the manifest, files, Python.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.arithmetic.compiling import entry
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying.compiled import fly_chunks, rules_of
from skyclone.collect.flying.flight import TeacherPilot, advise, fly
from skyclone.collect.flying.world import World
from skyclone.collect.kernels import resolution
from skyclone.collect.kernels.detection import FEW, find, reach_of, sort_into_cells
from skyclone.collect.kernels.motion import look
from skyclone.collect.kernels.traffic import AIR, NEAR, PAIR, Physics, physics_of
from skyclone.collect.teachers.registry import make
from skyclone.collect.teachers.rules import Rules
from skyclone.datasets.files import parquet
from skyclone.datasets.traffic.counts import counts_of
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import check_table, content_hash
from skyclone.datasets.traffic.state import Traffic

EPISODES = range(128)
STATE = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")
CONFIG = WorldConfig()
TEACHER = make("mvp", CONFIG)
advise_slots = resolution.advise  # `advise` is torch's here


def cost_of(work: Callable[[], object]) -> float:
    """Return processor time, s."""
    start = time.process_time()
    work()
    return time.process_time() - start


def shares() -> dict[str, float]:
    """Return the parts of the processor time of collecting one shard, and rows/s of all of it."""
    rules = rules_of(CONFIG, TEACHER)
    assert rules is not None
    table, figures = record(CONFIG, 0, EPISODES, TEACHER)
    counts = counts_of(table, EPISODES)
    stamp = json.dumps({"figures": figures, "counts": asdict(counts)})
    data = parquet.encode(table, stamp)
    with tempfile.TemporaryDirectory() as folder:
        config = CollectConfig(episodes=len(EPISODES), episodes_per_shard=len(EPISODES))
        whole = cost_of(lambda: collect(Path(folder) / "data", config, workers=1))
    flying = cost_of(lambda: list(fly_chunks(CONFIG, rules, 0, EPISODES, is_recording=False)))
    costs = {
        "flying": flying,
        "recording": cost_of(lambda: record(CONFIG, 0, EPISODES, TEACHER)) - flying,
        "checking": cost_of(lambda: (check_table(table), counts_of(table, EPISODES))),
        "encoding": cost_of(lambda: parquet.encode(table, stamp)),
        "hashing": cost_of(lambda: (content_hash(table), hashlib.sha256(data).hexdigest())),
    }
    costs["the rest"] = whole - sum(costs.values())
    return {**{name: cost / whole for name, cost in costs.items()}, "rows/s": len(table["step"]) / whole}


@entry
def advise_all(physics: Physics, rules: Rules, states: np.ndarray, numbers: np.ndarray, few: int) -> float:
    """Ask the kernels about states (S, 6, N), of which the first aircraft fly; return the conflicts there were."""
    most = states.shape[2]
    air, start = np.zeros(most, AIR), np.zeros(2 * most + 66, np.int64)
    near, around, pairs = np.empty(most, NEAR), np.empty(most, NEAR), np.empty(most + 16, PAIR)
    conflicts = 0.0
    for s in range(len(states)):
        count, state = numbers[s], states[s]
        for a in range(count):
            air[a]["east_m"], air[a]["north_m"] = state[0, a], state[1, a]
            air[a]["track_rad"], air[a]["speed_mps"] = state[2, a], state[3, a]
            air[a]["waypoint_east_m"], air[a]["waypoint_north_m"] = state[4, a], state[5, a]
            look(air, a)
        grid = sort_into_cells(air, count, reach_of(air, count, physics, rules), few, start, near)
        pairs, used = find(air, count, physics, rules, grid, start, near, pairs)
        advise_slots(air, count, physics, rules, grid, start, near, around, pairs, used)
        for a in range(count):
            conflicts += air[a]["conflicts"]
    return conflicts


def flown_states() -> list[Traffic]:
    """Return the states of a batch, step by step, each (B', N)."""
    world = World(CONFIG, 0, EPISODES)
    return [step.traffic for step in fly(world, TeacherPilot(TEACHER, CONFIG))]


def packed(states: list[Traffic]) -> tuple[np.ndarray, np.ndarray]:
    """Return states as the kernels take them, (S, 6, N) float64, who flies first, and how many do (S,)."""
    columns = torch.cat([torch.stack([getattr(each, name) for name in STATE], 1) for each in states])
    flying = torch.cat([each.is_flying for each in states])
    order = (~flying).int().argsort(dim=1, stable=True)
    columns = columns.gather(2, order.unsqueeze(1).expand_as(columns))
    return columns.double().numpy(), flying.sum(1).numpy()


def beside_torch(turns: int) -> dict[str, list[float]]:
    """Return agent-steps per second of processor time of both ways, turn by turn."""
    states = flown_states()
    arguments = (physics_of(CONFIG), rules_of(CONFIG, TEACHER), *packed(states), FEW)
    agent_steps = int(arguments[3].sum())

    def in_torch() -> int:
        return sum(len(advise(TEACHER, CONFIG, each, pairs_of(each)).conflicts.episode) for each in states)

    with torch.inference_mode():
        found, expected = advise_all(*arguments), in_torch()  # which compiles
        if abs(found - expected) > 1e-4 * expected:
            raise RuntimeError(f"expected {expected} conflicts as in torch, got {found}")
        rates: dict[str, list[float]] = {"kernels": [], "torch": []}
        for _ in range(turns):
            rates["kernels"].append(agent_steps / cost_of(lambda: advise_all(*arguments)))
            rates["torch"].append(agent_steps / cost_of(in_torch))
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    shares()  # compile
    found = [shares() for _ in range(turns)]
    print(f"Collecting a shard, {len(EPISODES)} episodes of {CONFIG.aircraft} aircraft, median of {turns} turns")
    for name in found[0]:
        values = [each[name] for each in found]
        form = "{:,.0f}" if name == "rows/s" else "{:.1%}"
        low, middle, high = (form.format(each) for each in (min(values), median(values), max(values)))
        print(f"  {name:<10} {middle:>10} [{low} to {high}]")
    rates = beside_torch(turns)
    print("Detection and MVP of the same states, agent-steps per second of processor time")
    for name, values in rates.items():
        print(f"  {name:<10} {median(values):>10,.0f} [{min(values):,.0f} to {max(values):,.0f}]")
    ratios = [kernel / other for kernel, other in zip(rates["kernels"], rates["torch"], strict=True)]
    print(f"  kernels are {median(ratios):.1f} x [{min(ratios):.1f} to {max(ratios):.1f}]")


if __name__ == "__main__":
    main()
