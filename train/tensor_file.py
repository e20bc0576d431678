"""Tensors and a JSON description in one safetensors file, with one hash of both. No pickle.

The description is JSON under `skyclone` in the file's metadata, with the hash as its last key: a second key of the
metadata would come in another order each time, for safetensors keeps them in a hash map. Files written by older
versions have no hash; they are read too, without a check.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from ..datasets.errors import CheckpointError
from ..datasets.files.atomic import publish
from ..datasets.files.json_file import parse_json

REMEDY = "Take it from a backup, or train again."

_HEADER = "skyclone"  # the key in the metadata of a safetensors file
_HASH = "content_sha256"  # the last key of the description in it


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: By name, on the CPU.
        description: A JSON object.
        is_checked: Whether the file has a hash, and holds what it was written with.
    """

    tensors: dict[str, Tensor]
    description: dict[str, Any]
    is_checked: bool


def write_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors, whatever device they are on, and a description, whole or not at all.

    Raises:
        CheckpointError: The description is no JSON.
        OSError: It cannot be written.
    """
    there = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = to_json({**description, _HASH: _content_hash(there, description)})
    publish(path, to_safetensors(there, metadata={_HEADER: text}))


def read_tensors(path: Path, remedy: str = REMEDY) -> Contents:
    """Read what `write_tensors` wrote.

    Args:
        path: The file.
        remedy: What to do if it is damaged, for the message.

    Raises:
        CheckpointError: It is missing, damaged, changed, or not written by skyclone.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            description = parse_json((file.metadata() or {})[_HEADER], "its description", CheckpointError)
    except FileNotFoundError:
        raise CheckpointError(f"expected a file {path}, there is none.") from None
    except (SafetensorError, KeyError, ValueError, CheckpointError) as error:
        raise CheckpointError(
            f"{path}: expected safetensors written by skyclone, could not read it ({error}). {remedy}"
        ) from None
    if not isinstance(description, dict):
        raise CheckpointError(f"{path}: expected a description that is an object, got {description!r}. {remedy}")
    if _HASH not in description:
        return Contents(tensors, description, is_checked=False)
    if description.pop(_HASH) != _content_hash(tensors, description):
        raise CheckpointError(
            f"{path} is damaged: its tensors and description do not have the hash they were written with. {remedy}"
        )
    return Contents(tensors, description, is_checked=True)


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and values, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold a NaN or an infinity."""
    return [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors named `prefix.NAME`, as `NAME`."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as `prefix.NAME`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors, `optimizer.PARAMETER.QUANTITY` each."""
    return {
        f"optimizer.{index}.{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state `optimizer_tensors` returned; its own parameter groups stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in under("optimizer", tensors).items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def to_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """Return JSON text.

    Raises:
        CheckpointError: It holds something that is no JSON, NaN included.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"expected a description that can be written as JSON: {error}") from None


def _content_hash(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the tensors and the description."""
    return hashlib.sha256(f"{weights_hash(tensors)} {to_json(description)}".encode()).hexdigest()
