"""Checkpoints: safetensors that say themselves what they are, with a JSON copy of that for people. No pickle.

`RUN/best.safetensors` holds the weights and, in its header, the description (network, observation, world,
datasets, metrics, code); being one file, it is replaced in one step and can never be a mixture of two
saves. `RUN/best.json` is a copy of the description. `RUN/last.*` are the same for the last iteration, and
`RUN/last.state.safetensors` is all a trainer needs to continue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.errors import CheckpointError, SkycloneError
from ..datasets.files.atomic import publish
from ..datasets.files.json_file import read_json
from ..datasets.provenance import code_version, package_versions
from ..datasets.traffic.view import View
from . import networks
from .networks import Network
from .tensor_file import REMEDY, Contents, not_finite, read_tensors, to_json, weights_hash, write_tensors

FORMAT_VERSION = 1
_SHOWN = 4  # runs that could have been meant
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"
META_KEYS = ("stage", "world", "teacher", "datasets", "config", "metrics", "parent", "envelope")
"""What a trainer records about itself: the stage (`clone` or `finetune`), the world and teacher it learned in
(JSON), the datasets (path and content hash each), its configuration, its figures, the checkpoint it started from,
and the envelope of its observations (see `runs.envelope`; null where it is not known)."""

_KEYS = ("format_version", "weights_sha256", "network", "observation", "code", "packages", *META_KEYS)
_LATER = ("envelope",)  # older checkpoints have none


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and where it comes from.

    Attributes:
        network: The network, on the CPU, in evaluation mode.
        view: The observation it was trained on.
        meta: `META_KEYS`, and `code`, `packages`, `weights_sha256`.
        path: The file it was read from.
    """

    network: Network
    view: View
    meta: dict[str, Any]
    path: Path


def save(stem: Path, network: Network, view: View, meta: Mapping[str, Any]) -> None:
    """Write `stem`.safetensors and then its copy for people, `stem`.json, each whole or not at all.

    Args:
        stem: Path without suffix, such as `RUN/best`; the folder exists.
        network: Its weights are saved, whatever device they are on.
        view: The observation it is trained on.
        meta: Some of `META_KEYS`; those left out become null.

    Raises:
        CheckpointError: meta has other keys, or a value that is no JSON (NaN included); or the weights are not
            finite. What was saved there before then stays.
        OSError: It cannot be written.
    """
    unknown = sorted(set(meta) - set(META_KEYS))
    if unknown:
        raise CheckpointError(f"a checkpoint has no {unknown}. There are: {', '.join(META_KEYS)}.")
    tensors = network.state_dict()
    bad = not_finite(tensors)
    if bad:
        raise CheckpointError(
            f"expected finite weights, got NaN or infinity in {bad}: nothing was saved to {stem}.safetensors"
        )
    description = {
        "format_version": FORMAT_VERSION,
        "weights_sha256": weights_hash(tensors),
        "network": network.spec,
        "observation": view.to_json(),
        "code": code_version(),
        "packages": package_versions(),
        **{key: meta.get(key) for key in META_KEYS},
    }
    write_tensors(stem.with_name(stem.name + ".safetensors"), tensors, description)
    publish(stem.with_name(stem.name + ".json"), to_json(description, indent=1).encode() + b"\n")


def load(run: str | Path, which: str = "best", view: View | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        run: A run's folder, a `.safetensors` file, or `pretrained:NAME`.
        which: `best` or `last`, for a folder.
        view: The observation it will be used with, if that is already decided.

    Raises:
        CheckpointError: There is none, it is damaged or edited, its weights do not fit its network, or
            it was made for another observation than `view`.
    """
    path = find(run, which)
    contents = read_tensors(path)
    tensors, description, _ = contents
    _check_description(path, description)
    _check_copy(path, contents)
    if description["weights_sha256"] != weights_hash(tensors):
        raise CheckpointError(f"{path} is damaged: its weights are not those it was saved with. {REMEDY}")
    try:
        own_view = View.stored(description["observation"], description["world"])
        spec = description["network"]
        network = networks.make(spec["name"], own_view, **spec["parameters"])
        network.load_state_dict(tensors)
    except (SkycloneError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).replace("\n\t", " ")
        raise CheckpointError(f"{path}: its weights do not fit the network it names: {reason} {REMEDY}") from None
    bad = not_finite(tensors)
    if bad:
        raise CheckpointError(f"{path}: expected finite weights, got NaN or infinity in {bad}. Train again.")
    if view is not None and view != own_view:
        raise CheckpointError(
            f"{path} was trained on the observation '{own_view}', got '{view}'. "
            f"Use it with '{own_view}', or train another network on '{view}'."
        )
    meta = {**dict.fromkeys(_LATER), **{key: value for key, value in description.items() if key in _META_RETURNED}}
    return Checkpoint(network.eval(), own_view, meta, path)


def find(run: str | Path, which: str = "best") -> Path:
    """Return the `.safetensors` file of a run's folder, of a file's own name, or of `pretrained:NAME`.

    Raises:
        CheckpointError: There is none; says what is there.
    """
    if isinstance(run, str) and run.startswith("pretrained:"):
        name = run.removeprefix("pretrained:")
        there = sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))
        if name not in there:
            raise CheckpointError(f"no pretrained weights '{name}'. There are: {', '.join(there) or 'none yet'}.")
        return PRETRAINED / f"{name}.safetensors"
    path = Path(run)
    if path.suffix != ".safetensors":
        path = path / f"{which}.safetensors"
    if not path.is_file():
        what = "there is no such file" if path.parent.is_dir() else "there is no such folder"
        below = _runs_below(path.parent, path.name)
        remedy = (
            f"Below it there {'is' if len(below) == 1 else 'are'} {', '.join(below)}: name a run's own folder."
            if below
            else f"Train one with `skyclone train --data DIR --out {path.parent}`."
        )
        raise CheckpointError(f"expected a trained network at {path}: {what}. {remedy}")
    return path


def _runs_below(folder: Path, name: str) -> list[str]:
    """Return the first few runs that somebody who named a folder above them may have meant."""
    found = {path.parent for pattern in (f"*/{name}", f"*/*/{name}") for path in folder.glob(pattern)}
    shown = sorted(map(str, found))
    return shown[:_SHOWN] + ([f"{len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else [])


_META_RETURNED = (*META_KEYS, "code", "packages", "weights_sha256")


def _check_description(path: Path, description: dict[str, Any]) -> None:
    """Raise unless a description has exactly the keys of this version."""
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: expected a checkpoint of format version {FORMAT_VERSION}, got {version!r}. "
            "Use the version of skyclone that made it, or train again."
        )
    missing, unknown = sorted(set(_KEYS) - set(_LATER) - set(description)), sorted(set(description) - set(_KEYS))
    if missing or unknown:
        raise CheckpointError(
            f"{path}: missing keys {missing or 'none'}, unknown keys {unknown or 'none'}. {REMEDY}"
        )


def _check_copy(path: Path, contents: Contents) -> None:
    """Raise if the JSON beside the weights was edited; one of another save (a crash between) is ignored."""
    copy_path, description = path.with_suffix(".json"), contents.description
    try:
        copy = read_json(copy_path, CheckpointError)
    except FileNotFoundError:
        return
    except CheckpointError as error:
        raise CheckpointError(f"{error} Delete it: the weights hold a copy.") from None
    weights = copy.get("weights_sha256") if isinstance(copy, dict) else description["weights_sha256"]
    if weights != description["weights_sha256"] or copy == description:
        return
    if contents.is_checked:
        raise CheckpointError(
            f"{copy_path} was changed: it is only a copy of the description inside the weights beside it. "
            "Delete it, or put the original back."
        )
    raise CheckpointError(
        f"{path} and its copy {copy_path.name} differ: one of them was changed, and a file of that age has no hash "
        "that says which. Take both from a backup, or train again."
    )
