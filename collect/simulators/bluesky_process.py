"""BlueSky in this process: started once, headless, detached, in a temporary folder that is removed at once.

BlueSky is a process-wide singleton. It keeps its settings in the folder it works in, and its aircraft model
files in the user's; a command that merely flies in it must touch neither.
"""

import contextlib
import io
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.errors import ConfigurationError

_SETTINGS = """
# skyclone's, after BlueSky's defaults
enabled_plugins = []
prefer_compiled = False  # the compiled bearings are wrong (BlueSky issue 616)
casmach_threshold = 0.0  # else a speed below 2 m/s is taken for a Mach number
"""


class _NoNavigationData:
    """Replaces BlueSky's navigation database, which takes 7 s to read and is not needed here."""

    def reset(self) -> None:
        """Do nothing."""

    def defwpt(self, name: str = "", lat: float = 0.0, lon: float = 0.0, wptype: str = "") -> None:
        """Do nothing; BlueSky's command stack asks for it."""


def bluesky_version() -> str:
    """Return the version of BlueSky that is installed.

    Raises:
        ConfigurationError: It is not.
    """
    try:
        return version("bluesky-simulator")
    except PackageNotFoundError:
        raise ConfigurationError(
            "flying in BlueSky needs the package bluesky-simulator, which is not installed. "
            "Install it with: pip install 'skyclone[bluesky]'"
        ) from None


def start_bluesky() -> Any:
    """Return the module `bluesky`, its simulation started; the same one at every call.

    Raises:
        ConfigurationError: BlueSky is not installed, or something else started it in this process.
    """
    bluesky_version()
    with quietly():
        import bluesky

        if getattr(bluesky, "skyclone_started", False):
            return bluesky
        if bluesky.traf is not None:
            raise ConfigurationError(
                "BlueSky is already running in this process, and there can be only one. Use another process."
            )
        with tempfile.TemporaryDirectory(prefix="skyclone-bluesky-") as home, _home_at(home):
            defaults = Path(bluesky.__file__).parent / "resources" / "default.cfg"
            settings = defaults.read_text(encoding="utf-8") + _SETTINGS
            Path(home, "settings.cfg").write_text(settings, encoding="utf-8")
            navigation: Any = types.ModuleType("bluesky.navdatabase")
            navigation.Navdatabase = _NoNavigationData
            sys.modules["bluesky.navdatabase"] = navigation
            bluesky.init(mode="sim", detached=True, workdir=home)
        bluesky.skyclone_started = True
    return bluesky


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep BlueSky off stdout, and its warnings (divisions by zero in level flight, matrices) to itself.

    While it loads, it also switches the process's warnings off.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _home_at(folder: str) -> Iterator[None]:
    """Let BlueSky's aircraft model see another home: it writes into `~/.config`."""
    names = ("HOME", "USERPROFILE", "XDG_CONFIG_HOME")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, folder))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
