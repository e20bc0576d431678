"""The student networks, by name.

A new variant is one file beside `additive.py` with a subclass of `Network`, and one line in `_NETWORKS`.
"""

from dataclasses import fields
from typing import Any, get_args

import torch

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View
from .additive import AdditiveNetwork
from .context import ContextNetwork
from .deepsets import DeepSetsNetwork
from .dot import DotNetwork
from .lstm import LstmNetwork
from .mlp import MlpNetwork
from .network import Network
from .pairwise import PairwiseNetwork
from .thresholds import ThresholdsNetwork
from .transformer import TransformerNetwork

__all__ = ["NAMES", "Network", "make", "parse"]

_NETWORKS: dict[str, type[Network]] = {
    network.name: network
    for network in (
        AdditiveNetwork,
        DotNetwork,
        ContextNetwork,
        LstmNetwork,
        PairwiseNetwork,
        ThresholdsNetwork,
        TransformerNetwork,
        DeepSetsNetwork,
        MlpNetwork,
    )
}
NAMES = tuple(_NETWORKS)
Value = int | float | str


def make(name: str, view: View, *, seed: int = 0, **parameters: Value) -> Network:
    """Build a network for a view, with weights that depend on the seed only.

    Args:
        name: One of `NAMES`.
        view: The observation it will see; gives the numbers of features.
        seed: Draws the initial weights; torch's global random state is left as it was.
        parameters: The variant's own parameters, such as heads=3; `outputs=1` makes a critic.

    Raises:
        ConfigurationError: Unknown name, or a parameter that this network lacks or cannot have.
    """
    network = _find(name)
    checked: Any = {key: _checked(network, key, value) for key, value in parameters.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(view, network.Parameters(**checked))


def parse(text: str) -> tuple[str, dict[str, Value]]:
    """Read a network as written on the command line, such as `pairwise:width=96` or `lstm:order=random`.

    Returns:
        Name and parameters, as `make` takes them.

    Raises:
        ConfigurationError: Unknown name, unknown parameter or a value that it cannot have.
    """
    name, *parts = text.split(":")
    network = _find(name)
    parameters: dict[str, Value] = {}
    for part in parts:
        key, _, value = part.partition("=")
        parameters[key] = _checked(network, key, _number(value, _types(network).get(key)))
    return name, parameters


def _number(text: str, kind: Any) -> Value:
    """Return the text as a parameter of that type, or as it is if it cannot be one."""
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _find(name: str) -> type[Network]:
    """Return the class of that name."""
    if name not in _NETWORKS:
        raise ConfigurationError(f"unknown model '{name}'. There are: {', '.join(NAMES)}.")
    return _NETWORKS[name]


def _types(network: type[Network]) -> dict[str, Any]:
    """Return the type of each of a network's parameters."""
    return {field.name: field.type for field in fields(network.Parameters)}


def _checked(network: type[Network], key: str, value: Any) -> Value:
    """Return the value of a parameter if the network can have it."""
    types = _types(network)
    if key not in types:
        raise ConfigurationError(f"model '{network.name}' has no parameter '{key}'. There are: {', '.join(types)}.")
    if types[key] is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigurationError(
            f"model '{network.name}': expected a whole number above 0 for {key}, got {value!r}"
        )
    if types[key] is float and (not isinstance(value, int | float) or not 0 <= value < 1e9):
        raise ConfigurationError(f"model '{network.name}': expected a number from 0 on for {key}, got {value!r}")
    names = get_args(types[key])
    if names and value not in names:
        raise ConfigurationError(
            f"model '{network.name}': expected one of {', '.join(names)} for {key}, got {value!r}"
        )
    result: Value = value
    return result
