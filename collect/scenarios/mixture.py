"""Mixtures of scenarios: `mix:sector=0.6:pads=0.4` draws for each episode which one it is."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...datasets import spec
from ...datasets.errors import ConfigurationError

NAME = "mix"


def shares_of(text: str, scenarios: Mapping[str, Any]) -> dict[str, float]:
    """Read `mix:sector=0.6:pads=0.4`: the scenarios of a mixture and their shares, which need not add up to 1.

    Raises:
        ConfigurationError: There is no such scenario, a share is no number above 0, or there is none.
    """
    shares: dict[str, float] = {}
    for part in text.split(":")[1:]:
        name, _, number = part.partition("=")
        spec.find(name, "scenario in 'mix'", scenarios)
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0.0 < share < 1e9 or name in shares:
            raise ConfigurationError(
                f"scenario 'mix': expected each scenario once, with a share above 0, got '{part}'. "
                "Example: mix:sector=0.6:pads=0.4"
            )
        shares[name] = share
    if not shares:
        raise ConfigurationError(
            "scenario 'mix': expected scenarios and their shares. Example: mix:sector=0.6:pads=0.4"
        )
    return shares


def one_of(generator: np.random.Generator, shares: dict[str, float]) -> str:
    """Draw a name by its share."""
    place, total = generator.random() * sum(shares.values()), 0.0
    for name, share in shares.items():
        total += share
        if place < total:
            return name
    return next(reversed(shares))
