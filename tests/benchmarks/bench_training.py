"""Behavioural cloning beside a bare MLP and `imitation`: samples/s on one core, as ratios in one process.

`python tests/benchmarks/bench_training.py` takes turns of some batches each and prints medians. Time is processor
time (one thread), so that other work on the machine weighs less:

- `attention-additive` as `skyclone train` runs it: shuffled batches of 1024 from a real dataset (20 aircraft),
  19 intruders observed per row, forward, backward, clipping, Adam, and the check for NaN;
- the same with batches computed beforehand: the network's part of it;
- `pairwise` on the 8 nearest intruders, also as `skyclone train` runs it;
- a bare loop over tensors in memory with the same action layers alone: 22-256-256-2, Adam, no clipping;
- `imitation`'s BC with the same layers on the flat observation (102 numbers). It asks for older packages than we
  have: `make bench` runs this in an environment made for it.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import nn

from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import Dataset, open_dataset
from skyclone.datasets.loading.loader import Batch
from skyclone.datasets.traffic.observation import Observation
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning
from skyclone.train.runs.interruption import Interruption

BATCH, BATCHES, TURNS, EPISODES = 1024, 15, 15, 64

Turn = Callable[[], None]


def endless(cloning: Cloning) -> Iterator[Batch]:
    """Yield the loader's batches of full size, epoch after epoch."""
    epoch = 0
    while True:
        cloning.loader.set_epoch(epoch)
        yield from (batch for batch in cloning.loader if len(batch.action) == BATCH)
        epoch += 1


def as_the_command(data: Dataset, folder: Path, model: str, view: str, in_memory: bool = False) -> Turn:
    """Return a turn of the command's own training step."""
    config = CloningConfig(model=model, observation=view, batch_size=BATCH, epochs=10_000)
    cloning = Cloning([data], folder / f"{model}-{in_memory}", config, device="cpu", say=lambda line: None)
    cloning._began, interruption = time.perf_counter(), Interruption()
    batches = endless(cloning)
    kept = [next(batches) for _ in range(BATCHES)]

    def turn() -> None:
        for number in range(BATCHES):
            cloning._step(kept[number] if in_memory else next(batches))
            cloning._look(interruption)

    return turn


def bare() -> Turn:
    """Return a turn of what a person would write in ten lines."""
    layers = nn.Sequential(
        nn.Linear(22, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, 2)
    )
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3)
    inputs, labels = torch.randn(200_000, 22), torch.randn(200_000, 2)

    def turn() -> None:
        for _ in range(BATCHES):
            rows = torch.randint(len(inputs), (BATCH,))
            optimizer.zero_grad()
            loss = (layers(inputs[rows]) - labels[rows]).square().mean()
            loss.backward()
            optimizer.step()

    return turn


def imitation(observation: Observation, action: torch.Tensor) -> Turn:
    """Return a turn of `imitation`'s behavioural cloning on the flat observation."""
    import gymnasium
    import numpy as np
    from imitation.algorithms import bc
    from imitation.data.types import Transitions
    from imitation.util.logger import configure
    from stable_baselines3.common.policies import ActorCriticPolicy

    flat = torch.cat((observation.ownship, observation.intruders.flatten(1)), 1).numpy()  # (M, 102)
    rows = len(flat)
    transitions: Any = Transitions(
        obs=flat, acts=action.numpy(), infos=np.array([{}] * rows), next_obs=flat, dones=np.zeros(rows, bool)
    )
    spaces = (gymnasium.spaces.Box(-10, 10, flat.shape[1:]), gymnasium.spaces.Box(-1, 1, (2,)))
    policy = ActorCriticPolicy(*spaces, lambda _: 1e-3, net_arch=[256, 256], activation_fn=nn.LeakyReLU)
    trainer = bc.BC(
        observation_space=spaces[0],
        action_space=spaces[1],
        rng=np.random.default_rng(0),
        demonstrations=transitions,
        batch_size=BATCH,
        policy=policy,
        device="cpu",
        custom_logger=configure(tempfile.mkdtemp(), format_strs=[]),
    )
    return lambda: trainer.train(n_batches=BATCHES, progress_bar=False, log_interval=10**9)


def main() -> None:
    """Take turns and print medians and ratios."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collect(folder / "data", CollectConfig(episodes=EPISODES))
        data = open_dataset(folder / "data")
        batch = next(iter(data.batches(batch_size=30_000)))
        turns: dict[str, Turn] = {
            "attention-additive, loader included": as_the_command(data, folder, "attention-additive", "seed"),
            "attention-additive, batches in memory": as_the_command(
                data, folder, "attention-additive", "seed", True
            ),
            "pairwise on ego:intruders=8, loader incl.": as_the_command(
                data, folder, "pairwise", "ego:intruders=8"
            ),
            "bare loop, 22-256-256-2": bare(),
            "imitation's BC, 102-256-256-2": imitation(batch.observation, batch.action),
        }
        seconds: dict[str, list[float]] = {what: [] for what in turns}
        for number in range(TURNS + 1):
            for what, turn in turns.items():
                start = time.process_time()
                turn()
                if number:  # the first turn warms up
                    seconds[what].append(time.process_time() - start)
    ours = seconds["attention-additive, loader included"]
    print(f"Cloning, batches of {BATCH}, one core, median of {TURNS} turns of {BATCHES} batches [least to most]")
    for what, values in seconds.items():
        rates = sorted(BATCH * BATCHES / value for value in values)
        ratio = statistics.median(other / own for own, other in zip(ours, values))
        print(
            f"  {what:<42} {statistics.median(rates):>9,.0f} samples/s [{rates[0]:,.0f} to {rates[-1]:,.0f}]"
            f"   attention-additive with loader is {ratio:.2f} x"
        )


if __name__ == "__main__":
    main()
