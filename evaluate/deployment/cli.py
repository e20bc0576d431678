"""The commands `skyclone export` and `skyclone plugin`: a policy as ONNX, and inside BlueSky."""

import json
from pathlib import Path

import click

from ...datasets.console import say
from ...datasets.errors import ConfigurationError
from ...datasets.options import PLACE, HelpfulCommand

PLUGIN = '''"""SKYCLONE: RESO SKYCLONE flies a trained policy, SKYCLONE RUN loads one."""


def init_plugin():
    """BlueSky calls this when it loads the plugin."""
    import skyclone.evaluate.deployment.bluesky_plugin  # noqa: F401 -- registers RESO SKYCLONE

    config = {"plugin_name": "SKYCLONE", "plugin_type": "sim"}
    return config
'''
"""BlueSky finds plugins by reading source files of this form in its folder; it uses no entry points."""


@click.command(
    "export",
    cls=HelpfulCommand,
    examples=[
        "skyclone export runs/clone --onnx clone.onnx",
        "skyclone export runs/clone --which last --onnx last.onnx",
        "skyclone export pretrained:tuned --onnx tuned.onnx --json > tuned.json",
    ],
)
@click.argument("run", metavar="RUN")
@click.option("--onnx", required=True, type=PLACE, metavar="FILE", help="Where to write it.")
@click.option(
    "--which", type=click.Choice(["best", "last"]), default="best", show_default=True, help="Checkpoint of the run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def export(run: str, onnx: Path, which: str, as_json: bool) -> None:
    """Write a policy as an ONNX file that flies without torch and skyclone.

    RUN is the folder of a trained policy, or pretrained:NAME. The file takes any number of ownships and of
    intruders; it is published only if onnxruntime acts like the policy on random and flown observations.
    """
    from ...train.policy import load_policy
    from .onnx_export import describe, export_onnx

    policy = load_policy(run, which)
    say(f"Exporting {policy.network.name} on {policy.view}, and comparing it with torch")
    result = export_onnx(policy, onnx)
    if as_json:
        click.echo(json.dumps({**result.to_json(), "metadata": describe(policy)}, allow_nan=False))
        return
    features = (policy.view.ownship_features, policy.view.intruder_features)
    click.echo(f"{click.format_filename(result.path)}: {result.size:,} bytes")
    click.echo(f"  in:  ownship (M, {features[0]}) float, intruders (M, K, {features[1]}) float, mask (M, K) bool")
    click.echo("  out: action (M, 2) float in [-1, 1]: turn, speed change")
    differences = " and ".join(f"{value:.1e} on {kind}" for kind, value in result.difference.items())
    click.echo(f"  largest difference from torch: {differences} observations, {result.rows:,} rows")
    for speed in result.speed:
        click.echo(
            f"  M = {speed.rows:,}, K = {speed.intruders}: onnxruntime {speed.onnxruntime_ms:.3f} ms, "
            f"torch {speed.torch_ms:.3f} ms (one thread)"
        )


@click.command("plugin", cls=HelpfulCommand, examples=["skyclone plugin", "skyclone plugin ~/src/bluesky"])
@click.argument("folder", metavar="[DIR]", type=PLACE, default=Path("~/bluesky"))
def plugin(folder: Path) -> None:
    """Install the BlueSky plugin, so that RESO SKYCLONE flies a trained policy inside BlueSky.

    DIR is the folder BlueSky works in: ~/bluesky by default, or the checkout it is started from.
    """
    path = install(folder.expanduser())
    say(f"Installed {path}.")
    say(
        "In BlueSky, or in a scenario file:\n"
        "  PLUGIN LOAD SKYCLONE     (or add 'skyclone' to enabled_plugins in settings.cfg)\n"
        "  SKYCLONE runs/clone      (a trained policy; without it pretrained:tuned)\n"
        "  RESO SKYCLONE            (RESO OFF returns control)"
    )


def install(folder: Path) -> Path:
    """Write the plugin's file into BlueSky's folder and return its path.

    Raises:
        ConfigurationError: BlueSky is not installed, another file is in the way, or nothing can be written.
    """
    from ...collect.simulators.bluesky_process import bluesky_version
    from ...datasets.files.atomic import check_ours, publish

    bluesky_version()
    plugins = folder / "plugins"
    path = plugins / "skyclone.py"
    check_ours(path, b"SKYCLONE", "a plugin")
    try:
        folder.mkdir(exist_ok=True)
        plugins.mkdir(exist_ok=True)
        publish(path, PLUGIN.encode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. Name another folder.") from None
    return path
