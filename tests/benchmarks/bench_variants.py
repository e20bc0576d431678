"""A training step of every network beside `attention-additive`: samples/s on one core, as ratios in one process.

`python tests/benchmarks/bench_variants.py [VIEW]` (default: seed) takes turns of some batches of 1024 each, loader
and observation included, as `skyclone train` runs it, and prints medians of processor time (one thread), so that
other work on the machine weighs less. "Alone" is the same with batches computed beforehand.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_training import BATCH, BATCHES, EPISODES, as_the_command

from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import open_dataset
from skyclone.train import networks

TURNS = 9
FIRST = "attention-additive"


def main(view: str) -> None:
    """Take turns and print medians and ratios."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collect(folder / "data", CollectConfig(episodes=EPISODES))
        data = open_dataset(folder / "data")
        turns = {
            (model, alone): as_the_command(data, folder, model, view, alone)
            for model in networks.NAMES
            for alone in (False, True)
        }
        seconds: dict[tuple[str, bool], list[float]] = {key: [] for key in turns}
        for number in range(TURNS + 1):
            for key, turn in turns.items():
                start = time.process_time()
                turn()
                if number:  # the first turn warms up
                    seconds[key].append(time.process_time() - start)
    print(f"Training step on '{view}', batches of {BATCH}, one core, median of {TURNS} turns of {BATCHES} [ratios]")
    for model in networks.NAMES:
        texts = []
        for alone in (False, True):
            own, first = seconds[model, alone], seconds[FIRST, alone]
            ratios = sorted(other / mine for mine, other in zip(own, first))
            rate = BATCH * BATCHES / statistics.median(own)
            texts.append(
                f"{rate:>8,.0f} samples/s, {statistics.median(ratios):.2f} x [{ratios[0]:.2f} to {ratios[-1]:.2f}]"
            )
        print(f"  {model:<19} {texts[0]}   alone {texts[1]}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["seed"]))
