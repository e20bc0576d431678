"""The command `skyclone collect`: it parses and prints, the work is done elsewhere."""

import shlex
import sys
from typing import Any

import click

from ..datasets.config import shown
from ..datasets.console import say
from ..datasets.files.arithmetic import OtherArithmetic
from ..datasets.files.manifest import SUFFIXES
from ..datasets.files.storage import Folder, as_folder
from ..datasets.machine import processors
from ..datasets.options import WORKERS, default_from, options_of
from .airspace.world_config import WorldConfig
from .collector.config import CollectConfig


class _ShardRange(click.ParamType):
    """`A:B`, the shards from A to B - 1."""

    name = "A:B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Read `A:B`."""
        first, colon, last = str(value).partition(":")
        is_short = max(len(first), len(last)) < 12  # there never are so many
        if not (colon and is_short and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
            self.fail(
                f"expected A:B with 0 <= A < B, such as 0:4 for the shards 0 to 3, got {shown(value)}", param, ctx
            )
        return range(int(first), int(last))


def _known_simulator(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a name that is none; the rest is checked when it is known whether the simulator is installed."""
    if value.partition(":")[0] not in ("embedded", "bluesky"):
        raise click.BadParameter(f"'{value}' is not one of 'embedded', 'bluesky'.")
    return value


simulator_option = options_of(
    WorldConfig, "simulator", changes={"simulator": {"metavar": "[embedded|bluesky]", "callback": _known_simulator}}
)
scenario_option = options_of(WorldConfig, "scenario")
engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who does the work: processes of this machine, or tasks of a Ray cluster.",
)


def world_of(options: dict[str, Any]) -> WorldConfig:
    """Return the world of a command's options, taking them out, and warn of what a scenario's file leaves out."""
    from . import scenarios

    world = scenarios.world_for(*(options.pop(name) for name in ("scenario", "aircraft", "simulator")))
    for warning in scenarios.warnings_about(world.scenario):
        say(f"Warning: {warning}")
    return world


@click.command("collect")
@click.option("--out", type=as_folder, metavar="DIR", required=True, help="Folder, or s3://bucket/folder.")
@options_of(CollectConfig, "episodes", bounded=True, changes=default_from(CollectConfig, "episodes", "a file's"))
@options_of(WorldConfig, "aircraft", bounded=True, changes=default_from(WorldConfig, "aircraft", "a file's"))
@scenario_option
@options_of(
    CollectConfig,
    "teacher",
    "pilot",
    "noise",
    "seed",
    "format",
    "episodes_per_shard",
    bounded=True,
    changes={"format": {"type": click.Choice(list(SUFFIXES))}},
)
@click.option("--workers", type=WORKERS, help="Processes, or Ray tasks at once.  [default: the CPUs there are]")
@click.option("--shards", type=_ShardRange(), help="Make only these shards.  [default: all]")
@simulator_option
@engine_option
@click.option(
    "--other-arithmetic",
    type=click.Choice([each.value for each in OtherArithmetic]),
    default=OtherArithmetic.REFUSE.value,
    show_default=True,
    help="Where there are rows of another processor's or version's arithmetic: refuse to go on, make them again "
    "here, or keep them and mark the new ones.",
)
@click.pass_context
def collect(
    ctx: click.Context,
    out: Folder,
    workers: int | None,
    shards: range | None,
    engine: str,
    other_arithmetic: str,
    **options: Any,
) -> None:
    """Fly the teacher and write what it does into a dataset.

    Broken off or damaged, the same command goes on: it keeps the shards that are sound and makes the others.
    """
    from .scenarios.registry import count_of

    world = world_of(options)
    episodes = options.pop("episodes") or count_of(world.scenario)
    if episodes:
        options["episodes"] = episodes
    config = CollectConfig(world=world, **options)
    workers = workers or (processors() if engine == "local" else None)
    from .collector.collector import collect as run

    progress = _Progress()
    try:
        manifest, times = run(
            out,
            config,
            engine=engine,
            workers=workers,
            shards=shards,
            load_pilot=(ctx.obj or {}).get("load_pilot"),
            other_arithmetic=other_arithmetic,
            command=shlex.join(["skyclone", *sys.argv[1:]]),
            report=say,
            progress=progress,
        )
    except KeyboardInterrupt:
        said = "Interrupted: finished shards are kept; run the same command again to go on."
        raise click.Abort(said) from None
    finally:
        progress.close()
    say(times.text(max(1, min(workers, times.made)) if workers else None))
    state = "complete" if manifest.complete else f"{len(manifest.shards)} of {manifest.shard_count} shards"
    say(f"{out}: {manifest.rows:,} rows, {state}. Content hash {manifest.content_hash}")


class _Progress:
    """A progress bar that appears when there is something to make: told the episodes first, then each shard."""

    def __init__(self) -> None:
        self.rows = 0
        self.bar: Any = None

    def __call__(self, made: Any) -> None:
        from tqdm import tqdm

        if self.bar is None:
            if made:
                self.bar = tqdm(total=made, unit=" episodes", desc="Collecting", file=sys.stderr)
            return
        self.rows += made.entry.rows
        rate = self.rows / max(self.bar.format_dict["elapsed"], 1e-9)
        self.bar.set_postfix_str(f"{rate:,.0f} rows/s", refresh=False)
        self.bar.update(made.entry.last_episode - made.entry.first_episode)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
