"""The commands `skyclone datasets ...`: they parse and print, the work is done elsewhere."""

import json
import sys

import click

from .command import HelpfulCommand
from .console import printable, say
from .files.manifest import SUFFIXES
from .files.storage import Folder, as_folder


@click.group("datasets")
def datasets() -> None:
    """Look at datasets, verify and convert them."""


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

    dataset = open_dataset(folder, allow_incomplete=True)
    problems = dataset.verify()
    for problem in problems:
        say(f"{problem.shard}: {problem.what}: {problem.message}")
    if problems:
        say(
            f"{folder}: {len(problems)} problem(s). The `skyclone collect` command that made the dataset makes "
            "missing and damaged shards again."
        )
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
