"""The dataset card: README.md in a dataset's folder, for people."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..traffic.record import TRUTH, columns_of
from .arithmetic import in_words
from .atomic import publish
from .manifest import Manifest
from .storage import Folder

CARD_NAME = "README.md"
LABELS = TRUTH
"""What the labels of every dataset are made of; those of what pilots knew are made as it is loaded."""


def write_card(folder: Folder, manifest: Manifest, command: str) -> None:
    """Write the card of a dataset, atomically.

    Args:
        folder: The dataset's folder.
        manifest: Of the dataset.
        command: What made it.
    """
    publish(folder / CARD_NAME, card(manifest, command).encode(errors="backslashreplace"))


def card(manifest: Manifest, command: str) -> str:
    """Return the card as Markdown."""
    sections = [
        _summary(manifest),
        "## How it was made\n\n" + _making(manifest, command),
        "## Safety of the traffic in it\n\n" + _whose(manifest) + "\n\n" + safety_table(manifest),
        "## Columns\n\n" + _columns(manifest.world),
        "## Reading it\n\n" + _reading(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(manifest: Manifest) -> str:
    """Say in a few lines what it holds."""
    there = f"incomplete: {len(manifest.shards)} of {manifest.shard_count} shards"
    size = sum(entry.bytes for entry in manifest.shards)
    return (
        f"# Air traffic, labelled by the teacher `{manifest.teacher}`\n\n"
        f"One row per aircraft per step: the state before the action, the action the teacher takes in just that "
        f"state (the label), the action that was flown, and what came of it.\n\n"
        f"- {manifest.rows:,} rows, {manifest.episodes:,} episodes, {manifest.shard_count} shards "
        f"({manifest.format}, {size / 1e6:,.1f} MB, {size / max(manifest.rows, 1):.1f} bytes a row); "
        f"{'complete' if manifest.complete else there}\n"
        f"- content hash `{manifest.content_hash}` (the same in every format)"
    )


def _making(manifest: Manifest, command: str) -> str:
    """Say who flew what, with which code."""
    flown = {"teacher": "the teacher itself"}.get(manifest.pilot, f"`{manifest.pilot}`")
    if manifest.noise:
        flown += f", with Gaussian noise of {manifest.noise:g} (action units) on the flown action"
    packages = ", ".join(f"{name} {version}" for name, version in manifest.packages.items())
    origin = [f"- {part.in_words}" for part in manifest.parts] or [
        f"- scenario `{manifest.scenario}`, seed {manifest.seed}: episode e is a function of (seed, e)"
    ]
    if manifest.parts:
        origin.append("- they are numbered from 0 on here; `parts` in dataset.json keeps what made each of them")
    return (
        f"```\n{command or 'unknown command'}\n```\n\n" + "\n".join(origin) + "\n"
        f"- flown by {flown}\n"
        f"{_knowing(manifest)}"
        f"- arithmetic: {_arithmetic(manifest)}\n"
        f"- skyclone {manifest.code or 'of unknown version'}; {packages or 'packages unknown'}\n"
        f"- the world: `{json.dumps(dict(manifest.world))}`"
    )


def _knowing(manifest: Manifest) -> str:
    """Say what pilots knew and what labels are made of, where that is not the same; else nothing."""
    surveillance = manifest.world.get("surveillance")
    if surveillance is None:
        return ""
    return (
        f"- surveillance `{surveillance}`: pilots flew by what they perceived; states, rewards and figures are the "
        f"truth\n- labels: {LABELS}, the teacher's action in the state that is stored, of which its pilot did not "
        "know all\n"
    )


def _arithmetic(manifest: Manifest) -> str:
    """Say what made the rows, and how many shards each if there were several."""
    found = manifest.arithmetics
    if len(found) == 1:
        return in_words(next(iter(found)))
    return "a mixture: " + ", ".join(f"{count} shards by {in_words(name)}" for name, count in found.items())


def _whose(manifest: Manifest) -> str:
    """Say whose safety figures these are."""
    if manifest.pilot == "teacher" and not manifest.noise:
        return f"The teacher `{manifest.teacher}` flew by itself: these are its own figures."
    return (
        f"Not the figures of the teacher `{manifest.teacher}` alone: it gave the labels, but others flew, or noise."
    )


def safety_table(manifest: Manifest) -> str:
    """Return the safety figures of the traffic as a Markdown table."""
    figures = defaultdict(float, manifest.figures)
    if not manifest.figures:
        return "No figures were recorded."
    hours, flown = figures["flight_s"] / 3600, _flown_rows(manifest)
    lines = ["| figure | in all | per episode | per flight hour |", "|---|---|---|---|"]
    has_pairs = "conflicts" in manifest.figures or not manifest.parts  # counts of pairs are of whole shards
    if not has_pairs:
        lines = ["Conflicts and losses of separation of pairs are counted per shard of the source, not here.", ""]
    for key, name in _COUNTED.items() if has_pairs else ():
        value = figures[key]
        lines.append(f"| {name} | {value:,.0f} | {_ratio(value, figures['episodes'])} | {_ratio(value, hours)} |")
    flights = figures["waypoint"] + figures["left_sector"] + figures["time_limit"]
    resolved = figures["conflicts"] - figures["los_events"]
    lines += [
        *([""] if has_pairs else []),
        f"- flight hours: {hours:,.1f}; flights: {flights:,.0f}; "
        f"{_share(figures['waypoint'], flights)} reached the waypoint, {_share(figures['left_sector'], flights)} "
        f"left the sector, {_share(figures['time_limit'], flights)} ran into the time limit",
        f"- rows in which the teacher acts on a conflict: {_share(figures['rows_in_conflict'], flown)}",
    ]
    if has_pairs:
        lines += [
            f"- conflicts that did not become a loss of separation (IPR): {_ratio(resolved, figures['conflicts'])}",
            f"- mean severity of a loss (depth / radius): {_ratio(figures['severity'], figures['los_merged'])}",
        ]
    if flown < manifest.rows:
        lines.append(
            f"- {manifest.rows - flown:,} rows are of hovering aircraft, which nobody flies: not counted above"
        )
    return "\n".join(lines)


def _flown_rows(manifest: Manifest) -> int:
    """Return how many rows somebody flies, by the time flown; where it cannot be known, all."""
    step_s, flight_s = manifest.world.get("step_s"), manifest.figures.get("flight_s")
    return round(flight_s / step_s) if flight_s and isinstance(step_s, int | float) and step_s else manifest.rows


_COUNTED = {
    "conflicts": "conflicts (events of a pair)",
    "los_events": "losses of separation (events of a pair)",
    "los_steps": "steps of a pair in loss of separation",
}


def _ratio(part: float, whole: float) -> str:
    """Return part / whole to four digits, a dash where there is no whole."""
    return f"{part / whole:.4g}" if whole else "-"


def _share(part: float, whole: float) -> str:
    """Return part / whole in per cent, a dash where there is no whole."""
    return f"{100 * part / whole:.4g} %" if whole else "-"


def _columns(world: Mapping[str, Any]) -> str:
    """Return the columns of a world's dataset as a table."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [
        f"| {column.name} | {column.dtype} | {column.unit} | {column.meaning} |" for column in columns_of(world)
    ]
    return "\n".join(lines)


_READING = """\
```python
from skyclone.datasets import open_dataset

for batch in open_dataset(".").batches(batch_size=1024):
    ...
```

Check it with `skyclone datasets verify .`; look at it with `skyclone datasets info .`."""

_AS_IT_IS = """\
The shards are plain Parquet; units and meanings are in the metadata of the fields:

```python
import pandas, polars, pyarrow.parquet

pandas.read_parquet("shards", columns=["conflicts", "nearest_m"])
polars.scan_parquet("shards/*.parquet").group_by("conflicts").len().collect()
pyarrow.parquet.read_schema("shards/{shard}").field("nearest_m").metadata[b"unit"]  # b"m"
```

```sql
SELECT conflicts, count(*) FROM 'shards/*.parquet' GROUP BY conflicts  -- DuckDB
```"""


def _reading(manifest: Manifest) -> str:
    """Show how to read it."""
    if manifest.format != "parquet":
        return _READING
    return _READING + "\n\n" + _AS_IT_IS.replace("{shard}", manifest.shard_name(0))


def facts(manifest: Manifest) -> dict[str, Any]:
    """Return what `datasets info --json` prints."""
    data = manifest.to_json()
    data.pop("columns")
    size = sum(entry.bytes for entry in manifest.shards)
    return {
        **data,
        "shards": len(manifest.shards),
        "shard_count": manifest.shard_count,
        "arithmetics": manifest.arithmetics,
        "labels": LABELS,
        "bytes": size,
        "bytes_per_row": round(size / max(manifest.rows, 1), 2),
        "figures": manifest.figures,
    }


def describe(manifest: Manifest, labels: str) -> str:
    """Return what `datasets info` prints for people.

    Args:
        manifest: Of the dataset.
        labels: What `labels.text` says of them.
    """
    data = facts(manifest)
    data["aircraft"] = manifest.world.get("aircraft", "unknown")
    data["size"] = f"{data['bytes'] / 1e6:,.1f} MB, {data['bytes_per_row']} bytes a row"
    data["arithmetic"] = _arithmetic(manifest)
    data["surveillance"] = manifest.world.get("surveillance", "perfect")
    data["shards"] = f"{len(manifest.shards)} of {manifest.shard_count}"
    for key in ("rows", "episodes"):
        data[key] = f"{data[key]:,}"
    lines = [f"{key.replace('_', ' '):20} {data[key]}" for key in _TOLD]
    lines += [f"{'taken from':20} {part.in_words}" for part in manifest.parts]
    whose = _whose(manifest).replace("`", "")
    return "\n".join([*lines, "", whose, "", safety_table(manifest), "", labels])


_TOLD = (
    *("rows", "episodes", "aircraft", "shards", "complete", "format", "size", "scenario"),
    *(
        "teacher",
        "labels",
        "pilot",
        "surveillance",
        "noise",
        "seed",
        "episodes_per_shard",
        "arithmetic",
        "code",
        "content_hash",
    ),
)
