"""What a run of cloning learns from: training rows and held-out rows, in memory, on the GPU or from the disk."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ...datasets.dataset import Dataset
from ...datasets.errors import CheckpointError
from ...datasets.loading.loader import Loader
from ...datasets.loading.snapshots import Snapshots, is_chosen
from ...datasets.loading.streaming import Stream
from .config import CloningConfig

HELDOUT_BATCH = 4096
ENOUGH_HELDOUT = 1_000_000
LARGEST_SHARE = 0.6  # of a GPU's free memory that data may take; the rest is for batches and gradients


class Material(NamedTuple):
    """Batches of training rows, in an order of each epoch's own, and of held-out rows."""

    training: Loader
    heldout: Loader


def flown_by_the_teacher(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Return the datasets flown by the pure teacher: held-out figures are reported on these."""
    return [each for each in datasets if each.manifest.pilot == "teacher" and each.manifest.noise == 0]


def read(
    datasets: Sequence[Dataset],
    config: CloningConfig,
    device: torch.device,
    part: tuple[int, int],
    say: Callable[[str], None],
) -> Material:
    """Read training and held-out rows into memory, or count them to stream them.

    Args:
        datasets: What to learn from.
        config: How they are split, weighted, mixed and cut into batches.
        device: Where batches are wanted; rows that fit on a GPU settle there.
        part: (rank, size): which part of each batch is this process's.
        say: Receives lines for people.

    Raises:
        DatasetError: A dataset is damaged, or has too few episodes to hold some out.
        ConfigurationError: The datasets do not go together.
    """
    pure = flown_by_the_teacher(datasets)
    if not pure:
        say("No dataset was flown by the pure teacher: held-out figures are on what was flown.")
    measured = enough(pure or datasets, config.heldout, say)
    source: type[Snapshots] | type[Stream] = Stream if config.stream else Snapshots
    parts: list[Any] = [
        source.of(datasets, "train", config.heldout, perceive=config.perceive),
        source.of(measured, "heldout", config.heldout, perceive=config.perceive),
    ]
    if device.type == "cuda":
        parts = settled(parts, device, say)
    here: dict[str, Any] = {"device": device, "part": part}
    weights: dict[str, Any] = {"conflict_weight": config.conflict_weight, "mix": config.shares}
    return Material(
        Loader(parts[0], config.view, config.batch_size, config.seed, **weights, **here),
        Loader(parts[1], config.view, HELDOUT_BATCH, shuffle=False, **here),
    )


def split_of(datasets: Sequence[Dataset], heldout: float) -> str:
    """Return a text that differs wherever other episodes of the datasets are held out."""
    digest = hashlib.sha256()
    for each in datasets:
        is_out = is_chosen(range(each.manifest.episodes), each.manifest, "heldout", heldout)
        digest.update(len(is_out).to_bytes(8, "little") + np.packbits(is_out).tobytes())
    return digest.hexdigest()[:16]


def check_split(run: Path, before: str, now: str, datasets: Sequence[Dataset], say: Callable[[str], None]) -> None:
    """Raise if a run goes on with other held-out episodes than it was begun with; warn where nobody can know.

    Raises:
        CheckpointError: It does.
    """
    if before == now or not (before or any(each.manifest.parts for each in datasets)):
        return
    if before:
        raise CheckpointError(
            f"{run} was begun by a version that held out other episodes of the same datasets: it would be measured "
            "on what it was trained on. Begin in another folder, or go on with the version that began it."
        )
    say(
        f"Warning: {run} was begun by a version that did not record which episodes of merged or selected datasets "
        "it held out; others may be held out now, and held-out figures be too good. Begin in another folder to be "
        "sure."
    )


def enough(datasets: Sequence[Dataset], heldout: float, say: Callable[[str], None]) -> list[Dataset]:
    """Return datasets with no more shards than it takes to hold out about a million rows.

    With ten million, a network that learned for two minutes was measured for two and a half more.

    Args:
        datasets: What could be measured on.
        heldout: Fraction of the episodes that is held out.
        say: Receives a line if shards are left out.
    """
    every = int(heldout * sum(each.rows for each in datasets) / ENOUGH_HELDOUT)
    if every < 2:
        return list(datasets)
    say(f"Held-out figures are on one shard in {every}: about {ENOUGH_HELDOUT:,} rows are enough.")
    thinned = (replace(each.manifest, shards=each.manifest.shards[::every]) for each in datasets)
    return [Dataset(each.path, manifest) for each, manifest in zip(datasets, thinned, strict=True)]


def settled(parts: Sequence[Any], device: torch.device, say: Callable[[str], None]) -> list[Any]:
    """Return training and held-out rows on the GPU, if they can be there; says why if they cannot."""
    if any(isinstance(part, Stream) for part in parts):
        say("--stream: the data stay on the disk, and each batch's rows cross over to the GPU.")
        return list(parts)
    return list(settle_data(parts, device, free_memory(device), say))


def settle_data(
    parts: Sequence[Snapshots], device: torch.device, free_bytes: int, say: Callable[[str], None]
) -> list[Snapshots]:
    """Move data to the device once, all of them or, if they do not fit, none.

    Args:
        parts: Training and held-out rows.
        device: Where to.
        free_bytes: Free memory there.
        say: Receives one line if they stay where they are.
    """
    needed = sum(part.bytes for part in parts)
    if needed > LARGEST_SHARE * free_bytes:
        say(
            f"The data take {needed / 1e9:.1f} GB and {device} has {free_bytes / 1e9:.1f} GB free: they stay in "
            "the computer's memory, and each batch's rows cross over."
        )
        return list(parts)
    return [part.to(device) for part in parts]


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU's memory."""
    return int(torch.cuda.mem_get_info(device)[0])
