"""Where a result comes from: the version of this code and of the packages below it."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "numpy", "pyarrow", "h5py")


@cache
def code_version() -> str:
    """Return the version of skyclone: `0.1.0`, and in a git checkout `0.1.0+1a2b3c4d5e6f` or `...dirty`."""
    try:
        release = version("skyclone")
    except PackageNotFoundError:
        release = "unknown"
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return release
    return f"{release}+{commit}{'.dirty' if _git('status', '--porcelain') else ''}"


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Look up the packages once."""
    found = [("python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return tuple(found)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a dataset."""
    return dict(_installed())


def _git(*arguments: str) -> str:
    """Return what git says about the checkout this package lies in; "" outside one or without git."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
