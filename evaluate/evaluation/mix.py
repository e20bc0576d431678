"""Mixed equipage: contenders that fly only a share of the aircraft, and figures of these, the equipped.

What is counted of the equipped is held against the same mix with `none` in the contender's place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import Figures
from ...collect.flying.flight import Pilot
from ...collect.flying.mixed import Group, Mix
from ...datasets.errors import ConfigurationError
from ...train.runs.confidence_intervals import Ratio
from ..metrics.formulas import Basis, compute
from .shares import SELF, SILENT, Share

OF_PAIRS = (
    "los_events",
    "los_merged",
    "los_per_flight_hour",
    "nmac_events",
    "risk_ratio",
    "severity",
    "conflicts",
    "conflicts_merged",
    "ipr",
    "ipr_merged",
    "dep",
    "dep_merged",
    "min_separation_m",
    "time_to_first_los_s",
    "time_in_los_s",
    "time_in_conflict_s",
)
"""The metrics that pairs of aircraft have; the others are of single ones."""


def among(pilot: Pilot, shares: Sequence[Share], others: Mapping[str, Pilot]) -> Mix:
    """Return the pilot of all aircraft of whom somebody flies a share.

    Args:
        pilot: That somebody.
        shares: `SELF` first.
        others: The pilots of the others, by name.

    Raises:
        ConfigurationError: One of them leaves resolving to the simulator, which does it for all.
    """
    groups = [
        Group(share, pilot if name == SELF else others[name], is_silent=name == SILENT) for share, name in shares
    ]
    if any(hasattr(group.pilot, "resolution") for group in groups):
        raise ConfigurationError(
            "--mix: expected pilots, got bluesky-mvp: BlueSky resolves for all aircraft, or for none. Leave one of "
            "them out; mvp is the same rule."
        )
    return Mix(groups)


def identity_of(shares: Sequence[Share], others: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what decides how the others fly, as JSON.

    Args:
        shares: Of all, in their order.
        others: Their identities by name; see `Loaded.identity`.
    """
    return [{"share": share, "who": others.get(name, SELF), "is_silent": name == SILENT} for share, name in shares]


def parts_of(shares: Sequence[Share]) -> dict[str, int | None]:
    """Return whose figures there are, and the number that `Figures.group` takes, by name.

    `self`: the equipped, and their pairs with anybody; `self-NAME`: their pairs with one group.
    """
    return {SELF: None, **{f"{SELF}-{each.name}": number for number, each in enumerate(shares)}}


def ratios_of(
    figures: Figures, unresolved: Figures, world: WorldConfig, shares: Sequence[Share]
) -> dict[str, dict[str, Ratio]]:
    """Return the metrics of the equipped, by part and metric.

    Args:
        figures: Of a mix.
        unresolved: Of the same with `none` in the contender's place.
        world: Where they were flown.
        shares: Of the mix.
    """
    made = {}
    for part, number in parts_of(shares).items():
        ratios = compute(Basis(figures.group(number), unresolved.group(number), world))
        made[part] = ratios if number is None else {name: ratios[name] for name in OF_PAIRS}
    return made
