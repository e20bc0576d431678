"""What the aircraft of a world can do: numbers where all are of one type, else one for each aircraft."""

from functools import cache
from math import tan
from typing import NamedTuple

import torch
from torch import Tensor

from ...datasets.config import shown
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.state import Traffic
from .aircraft_types import AircraftType, members_of
from .units import GRAVITY_MPS2
from .world_config import WorldConfig


@cache
def types_of(config: WorldConfig) -> tuple[AircraftType, ...]:
    """Return the types of a world: those of its fleet, or its own numbers as the only one."""
    members = members_of(config.fleet)
    if members:
        return tuple(each.type for each in members)
    own = (config.cruise_mps, config.min_speed_mps, config.max_speed_mps, config.acceleration_mps2, config.bank_rad)
    return (AircraftType(*own),)


def number_of(config: WorldConfig, name: str) -> int:
    """Return the number of a type in a world's fleet.

    Raises:
        ConfigurationError: It is not in the fleet.
    """
    names = [each.name for each in members_of(config.fleet)]
    if name.lower() not in names:
        raise ConfigurationError(
            f"expected aircraft of the fleet's types, {', '.join(names)}, got {shown(name)}. Add it to the fleet."
        )
    return names.index(name.lower())


def zone_scales_of(config: WorldConfig) -> tuple[float, ...]:
    """Return the protected zone of each type in units of the world's."""
    return tuple(
        (each.protected_zone_m or config.protected_zone_m) / config.protected_zone_m for each in types_of(config)
    )


class Limits(NamedTuple):
    """What aircraft can do: numbers where all are of one type, else (..., N); `pull_mps2` is g tan(bank)."""

    cruise_mps: float | Tensor
    min_speed_mps: float | Tensor
    max_speed_mps: float | Tensor
    acceleration_mps2: float | Tensor
    pull_mps2: float | Tensor


def limits_of(config: WorldConfig, traffic: Traffic) -> Limits:
    """Return what the aircraft of (..., N) traffic can do."""
    if traffic.kind is None:
        return _own_limits(config)
    rows = _rows(config, traffic.east_m.dtype, traffic.east_m.device)
    return Limits(*rows[traffic.kind].unbind(-1))


@cache
def _rows(config: WorldConfig, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what each type of a world can do, (K, 5)."""
    return torch.tensor(limits_of_types(config), dtype=dtype, device=device)


@cache
def _own_limits(config: WorldConfig) -> Limits:
    """Return what the only type of a world can do."""
    return limits_of_types(config)[0]


def limits_of_types(config: WorldConfig) -> list[Limits]:
    """Return what each type of a world can do."""
    return [
        Limits(
            each.cruise_mps,
            each.min_speed_mps,
            each.max_speed_mps,
            each.acceleration_mps2,
            GRAVITY_MPS2 * tan(each.bank_rad),
        )
        for each in types_of(config)
    ]


def fastest_mps(config: WorldConfig) -> float:
    """Return the highest speed of any type."""
    return max(each.max_speed_mps for each in types_of(config))
