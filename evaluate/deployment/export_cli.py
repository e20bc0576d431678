"""The command `skyclone export`: it parses and prints, the work is done elsewhere."""

import json
from pathlib import Path

import click


@click.command("export")
@click.argument("run", metavar="RUN")
@click.option("--onnx", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.")
@click.option(
    "--which", type=click.Choice(["best", "last"]), default="best", show_default=True, help="Checkpoint of the run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def export(run: str, onnx: Path, which: str, as_json: bool) -> None:
    """Write a policy as an ONNX file that flies without torch and skyclone.

    RUN is the folder of a trained policy, or pretrained:NAME. The file takes any number of ownships and of
    intruders; it is published only if onnxruntime acts like torch on random and flown observations.
    """
    from ...train.policy import load_policy
    from .onnx_export import describe, export_onnx

    policy = load_policy(run, which)
    click.echo(f"Exporting {policy.network.name} on {policy.view}, and comparing it with torch", err=True)
    result = export_onnx(policy, onnx)
    if as_json:
        click.echo(json.dumps({**result.to_json(), "metadata": describe(policy)}, allow_nan=False))
        return
    features = (policy.view.ownship_features, policy.view.intruder_features)
    click.echo(f"{result.path}: {result.size:,} bytes")
    click.echo(f"  in:  ownship (M, {features[0]}) float, intruders (M, K, {features[1]}) float, mask (M, K) bool")
    click.echo("  out: action (M, 2) float in [-1, 1]: turn, speed change")
    differences = " and ".join(f"{value:.1e} on {kind}" for kind, value in result.difference.items())
    click.echo(f"  largest difference from torch: {differences} observations, {result.rows:,} rows")
    for speed in result.speed:
        click.echo(
            f"  M = {speed.rows:,}, K = {speed.intruders}: onnxruntime {speed.onnxruntime_ms:.3f} ms, "
            f"torch {speed.torch_ms:.3f} ms (one thread)"
        )
