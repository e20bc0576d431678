"""The networks, by name.

A new variant is one file beside `additive.py` with a subclass of `Network`, and one line in `_NETWORKS`.
"""

import torch

from ...datasets import spec
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View
from .additive import AdditiveNetwork
from .context import ContextNetwork
from .deepsets import DeepSetsNetwork
from .dot import DotNetwork
from .lstm import LstmNetwork
from .mlp import MlpNetwork
from .network import Network, Parameters
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
MOST_WEIGHTS = 50_000_000
"""A thousand times what the networks here need, and 200 MB."""
Value = int | float | str


def make(name: str, view: View, *, seed: int = 0, **parameters: Value) -> Network:
    """Build a network for a view, with weights that depend on the seed only.

    Args:
        name: One of `NAMES`.
        view: The observation it sees; gives the numbers of features.
        seed: Draws the initial weights; torch's global random state stays as it was.
        parameters: The variant's own parameters, such as heads=3; `outputs=1` makes a critic.

    Raises:
        ConfigurationError: Unknown name, a parameter that this network lacks or cannot have, or too many weights.
    """
    network = spec.find(name, "model", _NETWORKS)
    spec.check(parameters, f"model '{name}'", network.Parameters)
    settings = network.Parameters(**parameters)
    _check_size(name, network, view, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(view, settings)


def _check_size(name: str, network: type[Network], view: View, settings: Parameters) -> None:
    """Raise if there would be too many weights, before memory is taken for one of them."""
    with torch.device("meta"):
        count = sum(weight.numel() for weight in network(view, settings).parameters())
    if count > MOST_WEIGHTS:
        raise ConfigurationError(
            f"model '{name}': expected at most {MOST_WEIGHTS:,} weights, got {count:,}. Ask for a narrower one."
        )


def parse(text: str) -> tuple[str, dict[str, Value]]:
    """Read a network as written on the command line, such as `pairwise:width=96` or `lstm:order=random`.

    Returns:
        Name and parameters, as `make` takes them.

    Raises:
        ConfigurationError: Unknown name, unknown parameter or a value that it cannot have.
    """
    makers = {name: network.Parameters for name, network in _NETWORKS.items()}
    name, parameters = spec.parse(text, "model", makers)
    makers[name](**parameters)
    return name, parameters
