"""Where a trained network has been: the envelope that its checkpoint keeps, for a monitor of its flights.

A clone's is that of the rows it was trained on. A fine-tuned policy has been where its parent was, and where it
flies itself: its envelope is around both.

    python -m skyclone.train.runs.envelope runs/old --data data/mvp

gives one to checkpoints that have none, and leaves their weights as they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...collect.airspace.worlds import by_turns
from ...collect.flying.flight import fly
from ...collect.flying.stored_perception import StoredPerception
from ...collect.flying.world import World
from ...collect.scenarios.registry import parts_of
from ...collect.surveillance.config import PERFECT
from ...datasets.dataset import open_dataset
from ...datasets.files.atomic import publish
from ...datasets.loading.loader import Batch, Loader
from ...datasets.traffic.envelope import Envelope, envelope_of
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.record import TRUTH
from ...datasets.traffic.state import Traffic
from ..checkpoint import Checkpoint, find, load
from ..policy import Policy
from ..tensor_file import read_tensors, to_json, write_tensors

ROWS = 2**18
"""Rows of training that are looked at, at the most."""
EPISODES = 8
"""Flown in each world by a fine-tuned policy, of each scenario of a mixture."""
FIRST_EPISODE = 3_000_000
"""Numbers of these: none of an evaluation's."""


def of_batches(batches: Iterable[Batch]) -> Envelope:
    """Return the envelope of the first `ROWS` rows of batches."""
    seen: list[Observation] = []
    rows = 0
    for batch in batches:
        seen.append(_needed(batch.observation))
        rows += len(batch.action)
        if rows >= ROWS:
            break
    return envelope_of(seen)


@torch.no_grad()
def of_flights(policy: Policy, worlds: Sequence[WorldConfig], seed: int) -> Envelope:
    """Return the envelope around what a policy sees where it flies itself, on the device of its weights.

    Each scenario of a mixture has bounds of its own, and so counts in full however rarely it is drawn.
    """
    seen: list[Observation] = []
    found: list[Envelope] = []
    device = next(policy.network.parameters()).device

    def look(traffic: Traffic, pairs: Pairs) -> Tensor:
        seen.append(_needed(policy.observe(traffic, pairs)))
        return policy.pilot(traffic, pairs)

    for world in worlds:
        for scenario in parts_of(world.scenario):
            cheapest = replace(world, scenario=scenario, reward="seed")  # nobody asks for the rewards
            for _ in fly(World(cheapest, seed, range(FIRST_EPISODE, FIRST_EPISODE + EPISODES), device), look):
                pass
            found.append(envelope_of(seen))
            seen.clear()
    return reduce(Envelope.with_other, found)


def _needed(observation: Observation) -> Observation:
    """Return of each intruder its distance alone: many others fill the memory."""
    return observation._replace(intruders=observation.intruders[..., :1].clone())


def of_tuned(policy: Policy, parent: Any, worlds: Sequence[WorldConfig], seed: int) -> dict[str, Any]:
    """Return a fine-tuned policy's envelope as JSON.

    Args:
        policy: It.
        parent: Its parent's envelope as JSON, of the same view; else None.
        worlds: Where it learned.
        seed: Of its run.
    """
    own = of_flights(policy, worlds, seed)
    return (own if parent is None else own.with_other(Envelope.from_json(parent))).to_json()


def give(run: str, data: Sequence[str]) -> Path:
    """Give a checkpoint an envelope from datasets, and for a fine-tuned one its own flights; return its file.

    Args:
        run: As `checkpoint.find` takes it.
        data: Folders of what it, or its parent, was trained on.
    """
    loaded, path = load(run), find(run)
    with torch.no_grad():
        datasets = [open_dataset(each) for each in data]
        perceive = _perceive_of(loaded)
        loaders = (
            Loader.of([each], "train", view=loaded.view, perceive=perceive, batch_size=8192) for each in datasets
        )
        parts = [of_batches(each) for each in loaders]
    envelope = parts[0]
    for part in parts[1:]:
        envelope = envelope.with_other(part)
    made = envelope.to_json()
    if loaded.meta["stage"] == "finetune":
        world = WorldConfig.from_json(loaded.meta["world"])
        config = loaded.meta["config"]
        worlds = by_turns(world, config["aircraft"], config.get("surveillance", ""))  # which older runs do not say
        policy = Policy(loaded.network, loaded.view, loaded.meta)
        made = of_tuned(policy, made, worlds, config["seed"])
    contents = read_tensors(path)
    description = {**contents.description, "envelope": made}
    write_tensors(path, contents.tensors, description)
    publish(path.with_suffix(".json"), to_json(description, indent=1).encode() + b"\n")
    return path


def _perceive_of(loaded: Checkpoint) -> StoredPerception | None:
    """Return what finds out what a clone's aircraft knew in training; None if that is all, or not known.

    The config of a fine-tuned policy does not say under what its parent was trained.
    """
    quality = loaded.meta["config"].get("surveillance", PERFECT)
    return None if loaded.meta["stage"] == "finetune" or quality == PERFECT else StoredPerception(quality, TRUTH)


@click.command()
@click.argument("run")
@click.option("--data", multiple=True, required=True, help="Dataset it, or its parent, was trained on; repeatable.")
def main(run: str, data: tuple[str, ...]) -> None:
    """Give the checkpoint of RUN an envelope; its weights stay as they are."""
    click.echo(f"{give(run, data)} has an envelope")


if __name__ == "__main__":
    main()
