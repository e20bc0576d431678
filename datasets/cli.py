"""The commands `skyclone datasets ...`: they parse and print, the work is done elsewhere."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from .console import printable, say
from .files.arithmetic import OtherArithmetic
from .files.manifest import SUFFIXES
from .files.storage import Folder, as_folder
from .options import PLACE, HelpfulCommand


@click.group("datasets")
def datasets() -> None:
    """Look at datasets, verify and convert them, take parts of them, merge and export them."""


_FOLDER = click.argument("folder", metavar="DIR", type=as_folder)


@datasets.command(
    cls=HelpfulCommand,
    examples=[
        "skyclone datasets info data/mvp",
        "skyclone datasets info data/mvp --json > facts.json",
        "skyclone datasets info s3://bucket/mvp",
    ],
)
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def info(folder: Folder, as_json: bool) -> None:
    """Say what the dataset in DIR holds, how it was made, how safe its traffic is and what its labels are."""
    from .dataset import open_dataset
    from .files.card import describe, facts

    dataset = open_dataset(folder, allow_incomplete=True)
    if as_json:
        click.echo(json.dumps(facts(dataset.manifest)))
        return
    from .labels import survey, text

    click.echo(printable(describe(dataset.manifest, text(survey(dataset), dataset.rows))))


@datasets.command(
    cls=HelpfulCommand, examples=["skyclone datasets verify data/mvp", "skyclone datasets verify s3://bucket/mvp"]
)
@_FOLDER
def verify(folder: Folder) -> None:
    """Check every byte of the dataset in DIR; name each shard that is missing, cut, altered or foreign."""
    from .dataset import open_dataset
    from .files.shards import remedy

    dataset = open_dataset(folder, allow_incomplete=True)
    problems = dataset.verify()
    for problem in problems:
        say(f"{problem.shard}: {problem.what}: {problem.message}")
    if problems:
        say(f"{folder}: {len(problems)} problem(s). {remedy(dataset.manifest)}")
        sys.exit(1)
    shards = len(dataset.shards)
    click.echo(f"{folder}: {shards} shards, {dataset.rows:,} rows, all sound. Content hash {dataset.content_hash}")


@datasets.command(
    cls=HelpfulCommand,
    examples=[
        "skyclone datasets convert data/mvp data/mvp-h5 --format hdf5",
        "skyclone datasets convert data/mvp data/mvp-parquet --format parquet",
        "skyclone datasets convert data/mvp s3://bucket/mvp --format parquet",
    ],
)
@_FOLDER
@click.argument("out", metavar="OUT", type=as_folder)
@click.option("--format", "format", type=click.Choice(list(SUFFIXES)), required=True, help="Format of the shards.")
def convert(folder: Folder, out: Folder, format: str) -> None:
    """Write the dataset in DIR again in OUT, in another format; the content hash stays."""
    from tqdm import tqdm

    from .conversion import convert as run
    from .dataset import open_dataset

    dataset = open_dataset(folder)
    with tqdm(total=dataset.rows, unit=" rows", unit_scale=True, desc="Converting", file=sys.stderr) as bar:
        manifest = run(
            dataset,
            out,
            format,
            command=f"skyclone datasets convert {folder} {out} --format {format}",
            report=say,
            progress=lambda rows: bar.update(rows) and None,
        )
    say(f"{out}: {len(manifest.shards)} shards, {manifest.rows:,} rows. {manifest.content_hash}")


_ENDS = ("waypoint", "left_sector", "time_limit")
_OUT = click.option("--out", type=as_folder, metavar="NEW", required=True, help="Folder of the new dataset.")


@datasets.command(
    cls=HelpfulCommand,
    examples=[
        "skyclone datasets select data/mvp --out data/few --episodes 0-1",
        "skyclone datasets select data/mvp --out data/long --where 'rows > 100' --where 'aircraft >= 3'",
        "skyclone datasets select data/mvp --out data/arrived --outcome waypoint",
    ],
)
@_FOLDER
@_OUT
@click.option("--episodes", default="", metavar="NUMBERS", help="Their numbers, such as 0-99,120.  [default: all]")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Such as 'los > 0'; several all have to hold. On rows, steps, aircraft, conflicts (rows in which the "
    "teacher acts on one), los (rows with another aircraft inside the zone), nearest_m, reward, and the aircraft "
    "that ended as waypoint, left_sector, time_limit.",
)
@click.option(
    "--outcome", type=click.Choice(_ENDS), multiple=True, help="Some aircraft has ended so; short for NAME > 0."
)
@click.option("--aircraft", type=click.IntRange(1, 32_000), help="So many aircraft; short for aircraft = N.")
def select(
    folder: Folder,
    out: Folder,
    episodes: str,
    where: tuple[str, ...],
    outcome: tuple[str, ...],
    aircraft: int | None,
) -> None:
    """Write some episodes of the dataset in DIR as a dataset of their own.

    They are numbered from 0 on; the manifest and the card keep where they come from. Broken off or damaged, the
    same command goes on: `skyclone collect` cannot make such a dataset again.
    """
    from .dataset import open_dataset
    from .selection.assembly import select as run
    from .selection.conditions import Condition, Selection

    conditions = [Condition.parse(text) for text in where]
    conditions += [Condition(name, ">", 0.0) for name in outcome]
    conditions += [Condition("aircraft", "=", float(aircraft))] if aircraft else []
    if not conditions and not episodes:
        raise click.UsageError("expected --episodes, --where, --outcome or --aircraft, got none of them.")
    dataset = open_dataset(folder)
    selection = Selection(episodes, tuple(conditions))
    with _Bar("Selecting") as bar:
        manifest = run(dataset, out, selection, command=_command(), report=say, progress=bar)
    say(f"{out}: {manifest.episodes:,} of {dataset.episodes:,} episodes. {_summary(manifest)}")


@datasets.command(
    cls=HelpfulCommand,
    examples=[
        "skyclone datasets merge data/mvp data/dense --out data/both",
        "skyclone datasets merge data/mvp data/dense --out data/mixed --other-arithmetic keep",
        "skyclone datasets merge data/mvp data/dense --out data/alike --other-arithmetic refuse",
    ],
)
@click.argument("folders", metavar="DIR DIR...", type=as_folder, nargs=-1, required=True)
@_OUT
@click.option(
    "--other-arithmetic",
    type=click.Choice([OtherArithmetic.REFUSE.value, OtherArithmetic.KEEP.value]),
    default=OtherArithmetic.REFUSE.value,
    show_default=True,
    help="Where their rows were made by several arithmetics: refuse, or keep and mark them.",
)
def merge(folders: tuple[Folder, ...], out: Folder, other_arithmetic: str) -> None:
    """Write the datasets in DIR DIR... as one; their episodes are numbered on.

    They have to be of one world and one teacher; the number of aircraft, the scenario and the time limit may
    differ, and so may pilots, noise and seeds. Broken off or damaged, the same command goes on.
    """
    from .dataset import open_dataset
    from .selection.assembly import merge as run

    if len(folders) < 2:
        raise click.UsageError("expected two datasets or more to merge, got one.")
    found = [open_dataset(folder) for folder in folders]
    other = OtherArithmetic(other_arithmetic)
    with _Bar("Merging") as bar:
        manifest = run(found, out, other_arithmetic=other, command=_command(), report=say, progress=bar)
    say(f"{out}: {manifest.episodes:,} episodes of {len(found)} datasets. {_summary(manifest)}")


def _command() -> str:
    """Return what was called."""
    return shlex.join(["skyclone", *sys.argv[1:]])


def _summary(manifest: Any) -> str:
    """Return how large a new dataset is, and its content hash."""
    return f"{len(manifest.shards)} shards, {manifest.rows:,} rows. Content hash {manifest.content_hash}"


class _Bar:
    """A bar of episodes whose end is not known before the conditions are."""

    def __init__(self, what: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(unit=" episodes", unit_scale=True, desc=what, file=sys.stderr)

    def __call__(self, episodes: int) -> None:
        self._bar.update(episodes)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


@datasets.command(
    "export-minari",
    cls=HelpfulCommand,
    examples=[
        "skyclone datasets export-minari data/mvp skyclone/mvp-v0",
        "skyclone datasets export-minari data/mvp skyclone/near-v0 --observation ego:intruders=4",
        "skyclone datasets export-minari data/mvp skyclone/cpa-v0 --observation cpa:intruders=8",
    ],
)
@_FOLDER
@click.argument("dataset_id", metavar="ID")
@click.option(
    "--observation", default="seed", show_default=True, help="What the aircraft observe: NAME[:key=value...]."
)
@click.pass_context
def export_minari(ctx: click.Context, folder: Folder, dataset_id: str, observation: str) -> None:
    """Export the dataset in DIR to Minari as ID, such as skyclone/mvp-v0.

    One Minari episode per aircraft, with flat observations: the ownship, the intruders, their mask. Minari
    keeps it in $MINARI_DATASETS_PATH, or else in ~/.minari/datasets.
    """
    from tqdm import tqdm

    from .dataset import open_dataset

    dataset = open_dataset(folder)
    with tqdm(total=dataset.rows, unit=" rows", unit_scale=True, desc="Exporting", file=sys.stderr) as bar:
        path = ctx.obj["export_minari"](dataset, dataset_id, observation, lambda rows: bar.update(rows) and None)
    say(f"{path}: {dataset.rows:,} rows. Load it: minari.load_dataset({dataset_id!r})")


@datasets.command(
    cls=HelpfulCommand,
    examples=[
        "skyclone datasets export data/mvp data/lerobot --to lerobot --observation ego:intruders=8",
        "skyclone datasets export data/mvp data/agents --to tensordict",
        "skyclone datasets export data/mvp data/near --to tensordict --observation ego:intruders=4",
    ],
)
@_FOLDER
@click.argument("out", metavar="OUT", type=PLACE)
@click.option(
    "--to",
    type=click.Choice(["lerobot", "tensordict"]),
    required=True,
    help="lerobot: format v3.0, one of its episodes for each flight. tensordict: TorchRL's layout, with an axis of "
    "agents and a mask.",
)
@click.option(
    "--observation", default="seed", show_default=True, help="What the aircraft observe: NAME[:key=value...]."
)
@click.pass_context
def export(ctx: click.Context, folder: Folder, out: Path, to: str, observation: str) -> None:
    """Export the dataset in DIR to OUT for LeRobot, or for multi-agent learning with TorchRL.

    OUT gets its name when all is written. For Minari, see `skyclone datasets export-minari`.
    """
    from tqdm import tqdm

    from .dataset import open_dataset

    dataset = open_dataset(folder)
    with tqdm(total=dataset.rows, unit=" rows", unit_scale=True, desc="Exporting", file=sys.stderr) as bar:
        count = ctx.obj["export"](to, dataset, out, observation, lambda rows: bar.update(rows) and None)
    what, how = {
        "lerobot": ("flights", f"LeRobotDataset('skyclone/{out.name}', root={str(out)!r})"),
        "tensordict": ("frames", f"tensordict.TensorDict.load_memmap({str(out)!r})"),
    }[to]
    say(f"{out}: {count:,} {what} of {dataset.rows:,} rows. Load it: {how}")
