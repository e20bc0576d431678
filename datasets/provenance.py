"""Where a result comes from: the version and the source of this code, and the packages below it."""

import ast
import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
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
def source_hash(*modules: str) -> str:
    """Return the hash of the source of modules and of all they import from this package.

    It changes whenever the code changes; `code_version` is the same for all that is not yet committed.

    Args:
        modules: Their names below the package: `collect.flying.figures`.
    """
    digest = hashlib.sha256()
    for path in source_files(*modules):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT).as_posix()}:{len(content)};".encode() + content)
    return digest.hexdigest()


def source_files(*modules: str) -> list[Path]:
    """Return the files of modules and of all they import from this package, at the top or inside a function."""
    found: set[Path] = set()
    waiting = [tuple(module.split(".")) for module in modules]
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if file is None or file in found:
            continue
        found.add(file)
        waiting += [name[:end] for end in range(len(name))]  # importing a module runs the packages around it
        package = name if file.name == "__init__.py" else name[:-1]
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.level:
                start = package[: len(package) + 1 - node.level]
                start += tuple(node.module.split(".")) if node.module else ()
                waiting += [start, *((*start, alias.name) for alias in node.names)]
    return sorted(found)


def _file_of(name: tuple[str, ...]) -> Path | None:
    """Return the file of a module; None if that is no module's name."""
    path = _ROOT.joinpath(*name)
    files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in files if file.is_file()), None)


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
    """Return what git says about the checkout this package is in; "" outside one or without git."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
