"""`RUN/config.json`: what a run of any stage was begun with, so that it goes on with the same and nothing else."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...datasets.config import shown
from ...datasets.errors import CheckpointError, SkycloneError
from ...datasets.files.atomic import publish
from ...datasets.files.json_file import read_json

CONFIG_NAME = "config.json"
MOST_THREADS = 1024
"""Of torch: more than any machine of ours has processors, fewer than make it fail."""
Config = TypeVar("Config")
STAGES = {"clone": "cloning", "finetune": "fine-tuning", "dagger": "DAgger"}

_HASH = {"datasets": "content_hash", "parent": "weights_sha256"}


def save(run: Path, stage: str, config: Mapping[str, Any], **sources: Any) -> None:
    """Write it.

    Args:
        run: The run's folder.
        stage: One of `STAGES`.
        config: The configuration as JSON.
        sources: What it started from, as JSON: `datasets`, `parent`.
    """
    text = json.dumps({"stage": stage, "config": config, **sources}, indent=1)
    publish(run / CONFIG_NAME, text.encode() + b"\n")


def load(
    run: Path, stage: str, read: Callable[[dict[str, Any]], Config], *sources: str
) -> tuple[Config, list[Any]]:
    """Read it.

    Args:
        run: The run's folder.
        stage: The stage it has to be of.
        read: Makes the configuration of its JSON.
        sources: What else has to be in it: `datasets`, `parent`.

    Returns:
        The configuration, and the sources.

    Raises:
        CheckpointError: There is none, it is damaged, or it is of another stage.
    """
    path = run / CONFIG_NAME
    try:
        data = read_json(path, CheckpointError)
        lacking = [key for key in ("stage", "config", *sources) if key not in data]
        if data.get("stage", stage) != stage:
            raise CheckpointError(
                f"{run} holds a run of the stage '{data['stage']}', expected one of {STAGES[stage]}. "
                "Choose another --out."
            )
        if lacking:
            raise ValueError(f"expected {', '.join(lacking)} in it, found only {', '.join(data) or 'nothing'}")
        for key in sources:
            for source in data[key] if key == "datasets" else [data[key]]:
                given = source if isinstance(source, dict) else {}
                if not all(isinstance(given.get(name), str) for name in ("path", _HASH[key])):
                    raise ValueError(f"expected path and {_HASH[key]} in {key}, as text, got {shown(source)}")
        return read(data["config"]), [data[key] for key in sources]
    except FileNotFoundError:
        raise CheckpointError(
            f"{run} holds no {STAGES[stage]} run: expected {CONFIG_NAME} in it. Leave out --resume to start one."
        ) from None
    except CheckpointError:
        raise
    except (ValueError, TypeError, AttributeError, SkycloneError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Choose another folder.") from None


def check_same(
    run: Path, before: Mapping[str, Any], now: Mapping[str, Any], sources: Mapping[str, tuple[Any, Any]]
) -> None:
    """Raise unless a run that shall go on is given what it began with.

    Args:
        run: The run's folder.
        before: The parameters it was begun with.
        now: Those it is given, with the same keys.
        sources: By what it started from (`the datasets data/mvp`): its hash then and now.

    Raises:
        CheckpointError: Something differs; says what.
    """
    different = [f"{key} {before[key]} (got {now[key]})" for key in before if before[key] != now[key]]
    different += [f"{what} (got others, or changed ones)" for what, (then, here) in sources.items() if then != here]
    if different:
        raise CheckpointError(
            f"{run} was begun with {'; '.join(different)}. Resume it with what it was begun with, "
            "or choose another --out without --resume."
        )


def same_datasets(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Return the hashes of datasets, as a run describes them, then and now; for `check_same`."""
    paths = ", ".join(each["path"] for each in before)
    hashes = [[each["content_hash"] for each in described] for described in (before, now)]
    return {f"the datasets {paths}": (hashes[0], hashes[1])}
