"""Mixed equipage: contenders that fly only a share of the aircraft."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...collect.flying.flight import Pilot
from ...collect.flying.mixed import Group, Mix
from ...datasets.errors import ConfigurationError
from .shares import SELF, SILENT, Share


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
