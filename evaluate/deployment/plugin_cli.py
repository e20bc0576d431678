"""The command `skyclone plugin`: it puts the plugin where BlueSky looks for plugins."""

from pathlib import Path

import click

from ...datasets.errors import ConfigurationError

PLUGIN = '''"""SKYCLONE: RESO SKYCLONE flies a trained policy, SKYCLONE RUN loads one."""


def init_plugin():
    """BlueSky calls this when it loads the plugin."""
    import skyclone.evaluate.deployment.bluesky_plugin  # noqa: F401 -- registers RESO SKYCLONE

    config = {"plugin_name": "SKYCLONE", "plugin_type": "sim"}
    return config
'''
"""BlueSky finds plugins by reading source files of this form in its folder; it uses no entry points."""


@click.command("plugin")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("~/bluesky"))
def plugin(folder: Path) -> None:
    """Install the BlueSky plugin, so that RESO SKYCLONE flies a trained policy inside BlueSky.

    DIR is the folder BlueSky works in: ~/bluesky by default, or the checkout it is started from.
    """
    path = install(folder.expanduser())
    click.echo(f"Installed {path}.", err=True)
    click.echo(
        "In BlueSky, or in a scenario file:\n"
        "  PLUGIN LOAD SKYCLONE     (or add 'skyclone' to enabled_plugins in settings.cfg)\n"
        "  SKYCLONE runs/clone      (a trained policy; without it pretrained:tuned)\n"
        "  RESO SKYCLONE            (RESO OFF returns control)",
        err=True,
    )


def install(folder: Path) -> Path:
    """Write the plugin's file into BlueSky's folder and return its path.

    Raises:
        ConfigurationError: BlueSky is not installed, another file is in the way, or nothing can be written.
    """
    from ...collect.simulators.bluesky_process import bluesky_version
    from ...datasets.files.atomic import publish

    bluesky_version()
    plugins = folder / "plugins"
    path = plugins / "skyclone.py"
    if path.exists() and "SKYCLONE" not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConfigurationError(f"{path} is another file than ours. Move it out of the way.")
    try:
        folder.mkdir(exist_ok=True)
        plugins.mkdir(exist_ok=True)
        publish(path, PLUGIN.encode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. Name another folder.") from None
    return path
