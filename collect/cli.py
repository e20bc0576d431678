"""The command `skyclone collect`: it parses and prints, the work is done elsewhere."""

import sys
from dataclasses import replace
from typing import Any

import click

from ..datasets.config import shown
from ..datasets.console import command_line, say
from ..datasets.files.arithmetic import OtherArithmetic
from ..datasets.files.manifest import SUFFIXES
from ..datasets.files.storage import Folder, as_folder
from ..datasets.machine import processors
from ..datasets.options import WORKERS, HelpfulCommand, default_from, given, options_of
from .airspace.world_config import WorldConfig
from .airspace.worlds import DEFAULT, PRESETS, fields, parse, to_toml
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


class _World(click.ParamType):
    """A world by its name, or a file's."""

    name = "NAME|FILE.toml[:key=value...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> WorldConfig:
        """Return the world."""
        return parse(value) if isinstance(value, str) else value


def world_option(otherwise: str) -> Any:
    """Return the option `--world`.

    Args:
        otherwise: Which world it is if none is given, for the help.
    """
    return click.option(
        "--world",
        type=_World(),
        metavar=_World.name,
        help=f"The world: {', '.join(PRESETS)}, or a TOML file; `skyclone worlds` has the keys.  "
        f"[default: {otherwise}]",
    )


def _known_simulator(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a name that is none; the rest is checked when it is known whether the simulator is installed."""
    if value.partition(":")[0] not in ("embedded", "bluesky"):
        raise click.BadParameter(f"'{value}' is not one of 'embedded', 'bluesky'.")
    return value


def _or_the_world_s(name: str) -> dict[str, Any]:
    """Return what differs in an option that is the world's where it is not given."""
    changes = default_from(WorldConfig, name, "the world's")[name]
    return {key: value for key, value in changes.items() if key != "default"}


simulator_option = options_of(
    WorldConfig,
    "simulator",
    changes={
        "simulator": {
            **_or_the_world_s("simulator"),
            "metavar": "[embedded|bluesky]",
            "callback": _known_simulator,
        }
    },
)
_SCENARIOS = (
    "How the traffic is laid out: sector, circle, crossing, random-n, pads, inside, shared, converging, hover, "
    "arrivals (each with parameters, such as hover:share=0.3), mix:NAME=SHARE[:...] of these, "
    "or file:PATH of BlueSky's .scn, or of a folder of them.  [default: sector, or the world's]"
)
scenario_option = options_of(
    WorldConfig, "scenario", changes={"scenario": {**_or_the_world_s("scenario"), "help": _SCENARIOS}}
)
surveillance_option = options_of(
    WorldConfig,
    "surveillance",
    changes={"surveillance": {**_or_the_world_s("surveillance"), "metavar": "NAME[:key=value...]"}},
)
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

    base, typed = options.pop("world") or WorldConfig(), given(click.get_current_context())
    scenario, aircraft, simulator = (options.pop(name) for name in ("scenario", "aircraft", "simulator"))
    scenario = scenario if "scenario" in typed else base.scenario
    simulator = simulator if "simulator" in typed else base.simulator
    if "surveillance" in typed:
        base = replace(base, surveillance=options["surveillance"])
    del options["surveillance"]
    world = scenarios.world_for(scenario, aircraft, simulator, base)
    for warning in scenarios.warnings_about(world):
        say(f"Warning: {warning}")
    return world


@click.command(
    "collect",
    cls=HelpfulCommand,
    groups={
        "Traffic": "episodes world aircraft scenario surveillance seed",
        "Who flies, and who labels": "teacher pilot noise",
        "Files": "out format episodes-per-shard shards other-arithmetic",
        "Work": "workers engine simulator",
    },
    examples=[
        "skyclone collect --out data/mvp --episodes 1000 --workers 2",
        "skyclone collect --out data/dense --aircraft 40 --teacher mvp:margin=1.15 --noise 0.2",
        "skyclone collect --out data/labelled --pilot runs/clone --episodes 200",
    ],
)
@click.option("--out", type=as_folder, metavar="DIR", required=True, help="Folder, or s3://bucket/folder.")
@options_of(CollectConfig, "episodes", bounded=True, changes=default_from(CollectConfig, "episodes", "a file's"))
@world_option(DEFAULT)
@options_of(
    WorldConfig, "aircraft", bounded=True, changes=default_from(WorldConfig, "aircraft", "the world's, or a file's")
)
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
@surveillance_option
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
            command=command_line(*sys.argv[1:]),
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


@click.command(
    "worlds",
    cls=HelpfulCommand,
    examples=[
        "skyclone worlds",
        "skyclone worlds enroute:aircraft=40 > my.toml",
        "skyclone worlds m600:protected_zone_m=50",
    ],
)
@click.argument("name", metavar="[NAME]", required=False)
def worlds(name: str | None) -> None:
    """List the worlds there are, and what a world consists of; or print one as TOML, to start from.

    NAME is what --world takes: a preset or a TOML file, each followed by :key=value.
    """
    if name is not None:
        click.echo(to_toml(parse(name)), nl=False)
        return
    click.echo("\n".join(f"{name:9}{preset.text}" for name, preset in PRESETS.items()))
    click.echo("\nTheir fields:\n")
    numbers = [[getattr(preset.world, each.name) for preset in PRESETS.values()] for each in fields()]
    rows = [
        [each.name, each.unit, *(f"{n:.8g}" if isinstance(n, float) else str(n) for n in found)]
        for each, found in zip(fields(), numbers, strict=True)
    ]
    rows.insert(0, ["key", "unit", *PRESETS])
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    for row, text in zip(rows, ["meaning", *(each.text for each in fields())], strict=True):
        click.echo("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + text)


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
