"""The command `skyclone compare`: it parses and prints, the work is done elsewhere."""

import json
from pathlib import Path
from typing import Any

import click

from ...collect.airspace.world_config import WorldConfig
from ...collect.cli import world_option
from ...datasets.config import fields_of
from ...datasets.console import printable, say
from ...datasets.files.storage import Folder, as_folder
from ...datasets.options import PLACE, WORKERS, HelpfulCommand, options_of
from .config import (
    DEFAULT_RATES,
    DEFAULT_SEEDS,
    CompareConfig,
    parse_budgets,
    parse_rates,
    parse_seeds,
    parse_variants,
)


@click.command(
    "compare",
    cls=HelpfulCommand,
    groups={
        "What is compared": "data out models observation reference",
        "Training": "seeds steps seconds batch-size lr schedule conflict-weight surveillance labels",
        "Flights": "world scenarios scenario-seed bootstrap",
        "Work": "workers json",
    },
    examples=[
        "skyclone compare --data data/mvp --out compare --models attention-additive,pairwise@ego:intruders=8",
        "skyclone compare --data data/mvp --out rates --models attention-additive,lstm --lr 1e-3,4e-3",
        "skyclone compare --data data/mvp --out steps --models attention-additive,mlp --steps 500 --seconds 0",
    ],
)
@click.option("--data", required=True, type=as_folder, metavar="DIR", help="Dataset they all learn from.")
@click.option("--out", required=True, type=PLACE, metavar="DIR", help="Folder for runs and table.")
@click.option("--models", default="", help="MODEL[@VIEW], with commas between them.  [default: every network]")
@click.option("--observation", default="seed", show_default=True, help="View of the models that name none.")
@options_of(CompareConfig, "seeds", changes={"seeds": {"type": str, "default": DEFAULT_SEEDS}})
@click.option(
    "--steps", type=click.IntRange(0), default=2000, show_default=True, help="Equal steps; 0: no such table."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Equal processor seconds (wall clock of an idle machine); 0: none.",
)
@options_of(CompareConfig, "batch_size", bounded=True)
@click.option(
    "--lr", "rates", default=DEFAULT_RATES, show_default=True, help=fields_of(CompareConfig)["rates"].description
)
@options_of(CompareConfig, "schedule", "conflict_weight", "surveillance", "labels", "reference")
@world_option("the dataset's")
@options_of(CompareConfig, "scenarios", "scenario_seed", "bootstrap", bounded=True)
@click.option("--workers", type=WORKERS, default=1, show_default=True, help="Processes side by side.")
@click.option("--json", "as_json", is_flag=True, help="Print the table's JSON on stdout, and nothing else there.")
def compare(
    data: Folder, out: Path, world: WorldConfig | None, workers: int, as_json: bool, **options: Any
) -> None:
    """Train variants on one dataset with one budget and several seeds, fly them, and make one table.

    Each training is an ordinary run below --out that `evaluate` can fly. Interrupted, the same command
    continues: what is finished is not done again, and further models or seeds are added to what is there.
    """
    from .comparison import compare as run
    from .output import NAMES, check_names, to_markdown, write
    from .table import tabulate

    plan = CompareConfig(
        variants=parse_variants(options.pop("models"), options.pop("observation")),
        budgets=parse_budgets(options.pop("steps"), options.pop("seconds")),
        seeds=parse_seeds(options.pop("seeds")),
        rates=parse_rates(options.pop("rates")),
        **options,
    )
    check_names(out)

    try:
        table = tabulate(run(data, out, plan, workers, say, world))
    except KeyboardInterrupt:
        raise click.Abort("Interrupted: what was trained is kept; the same command continues from there.") from None
    result = write(out, table)
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
        for line in result["answer"]:
            say(line)
    else:
        click.echo(printable(to_markdown(table)))
    say(f"Wrote {', '.join(NAMES)} into {out}")
