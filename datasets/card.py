"""The dataset card: README.md in a dataset's folder, for people."""

import json
from pathlib import Path
from typing import Any

from .manifest import Manifest
from .publication import publish
from .record import COLUMNS

CARD_NAME = "README.md"


def write_card(folder: Path, manifest: Manifest, command: str) -> None:
    """Write the card of a dataset, atomically.

    Args:
        folder: The dataset's folder.
        manifest: Of the dataset.
        command: What made it.
    """
    publish(folder / CARD_NAME, card(manifest, command).encode())


def card(manifest: Manifest, command: str) -> str:
    """Return the card as Markdown."""
    sections = [
        _summary(manifest),
        "## How it was made\n\n" + _making(manifest, command),
        "## Safety of the traffic in it\n\n" + safety_table(manifest),
        "## Columns\n\n" + _columns(),
        "## Reading it\n\n" + _reading(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(manifest: Manifest) -> str:
    """Say in a few lines what it holds."""
    state = "complete" if manifest.complete else f"incomplete: {len(manifest.shards)} of {manifest.shard_count} shards"
    size = sum(entry.bytes for entry in manifest.shards)
    return (
        f"# Air traffic, labelled by the teacher `{manifest.teacher}`\n\n"
        f"One row per aircraft per step: the state before the action, the action the teacher takes in just that "
        f"state (the label), the action that was flown, and what came of it.\n\n"
        f"- {manifest.rows:,} rows, {manifest.episodes:,} episodes, {manifest.shard_count} shards "
        f"({manifest.format}, {size / 1e6:,.1f} MB, {size / max(manifest.rows, 1):.1f} bytes a row); {state}\n"
        f"- content hash `{manifest.content_hash}` (the same in every format)"
    )


def _making(manifest: Manifest, command: str) -> str:
    """Say who flew what, with which code."""
    flown = {"teacher": "the teacher itself"}.get(manifest.pilot, f"`{manifest.pilot}`")
    if manifest.noise:
        flown += f", with Gaussian noise of {manifest.noise:g} (action units) on the flown action"
    packages = ", ".join(f"{name} {version}" for name, version in manifest.packages.items())
    return (
        f"```\n{command or 'unknown command'}\n```\n\n"
        f"- scenario `{manifest.scenario}`, seed {manifest.seed}: episode e is a function of (seed, e)\n"
        f"- flown by {flown}\n"
        f"- skyclone {manifest.code or 'of unknown version'}; {packages or 'packages unknown'}\n"
        f"- the world: `{json.dumps(dict(manifest.world))}`"
    )


def safety_table(manifest: Manifest) -> str:
    """Return the safety figures of the traffic as a Markdown table."""
    figures = manifest.figures
    if not figures:
        return "No figures were recorded."
    hours = figures.get("flight_s", 0.0) / 3600
    episodes = max(figures.get("episodes", 0), 1)
    flights = max(sum(figures.get(name, 0) for name in ("waypoint", "left_sector", "time_limit")), 1)
    lines = ["| figure | in all | per episode | per flight hour |", "|---|---|---|---|"]
    for key, name in (
        ("conflicts", "conflicts (events of a pair)"),
        ("los_events", "losses of separation (events of a pair)"),
        ("los_steps", "steps of a pair in loss of separation"),
    ):
        value = figures.get(key, 0)
        lines.append(f"| {name} | {value:,.0f} | {value / episodes:.3g} | {value / max(hours, 1e-9):.3g} |")
    conflicts, losses = figures.get("conflicts", 0), figures.get("los_events", 0)
    severity = figures.get("severity", 0) / max(figures.get("los_merged", 0), 1)
    lines += [
        "",
        f"Flight hours: {hours:,.1f}. Ends: waypoint {figures.get('waypoint', 0) / flights:.2%}, "
        f"left sector {figures.get('left_sector', 0) / flights:.2%}, "
        f"time limit {figures.get('time_limit', 0) / flights:.2%}. "
        f"Conflicts that did not become a loss of separation (IPR): {(conflicts - losses) / max(conflicts, 1):.2%}. "
        f"Mean severity of a loss: {severity:.3f}. "
        f"Rows in conflict for the teacher: {figures.get('rows_in_conflict', 0) / max(manifest.rows, 1):.2%}.",
    ]
    return "\n".join(lines)


def _columns() -> str:
    """Return the columns as a table."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| {column.name} | {column.dtype} | {column.unit} | {column.meaning} |" for column in COLUMNS]
    return "\n".join(lines)


def _reading(manifest: Manifest) -> str:
    """Show how to read it."""
    python = "from skyclone.datasets import open_dataset\n\nfor batch in open_dataset('.').batches(batch_size=1024):\n    ..."
    text = f"```python\n{python}\n```\n\nCheck it with `skyclone datasets verify .`"
    if manifest.format == "parquet":
        text += ", or read it as it is: `pandas.read_parquet('shards')`"
    return text + "."


def facts(manifest: Manifest) -> dict[str, Any]:
    """Return what `datasets info --json` prints."""
    data = manifest.to_json()
    data.pop("columns")
    size = sum(entry.bytes for entry in manifest.shards)
    return {
        **data,
        "shards": len(manifest.shards),
        "shard_count": manifest.shard_count,
        "bytes": size,
        "bytes_per_row": round(size / max(manifest.rows, 1), 2),
        "figures": manifest.figures,
    }


def describe(manifest: Manifest) -> str:
    """Return what `datasets info` prints for people."""
    data = facts(manifest)
    keys = ("rows", "episodes", "shards", "complete", "format", "bytes_per_row", "scenario", "teacher", "pilot")
    keys += ("noise", "seed", "episodes_per_shard", "code", "content_hash")
    lines = [f"{key.replace('_', ' '):20} {data[key]:,}" if key in ("rows", "episodes") else f"{key.replace('_', ' '):20} {data[key]}" for key in keys]
    lines.insert(2, f"{'aircraft':20} {manifest.world.get('aircraft', 'unknown')}")
    return "\n".join([*lines, "", safety_table(manifest)])
