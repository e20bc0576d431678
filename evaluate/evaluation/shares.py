"""The text of a mix, `0.8=self,0.1=mvp,0.1=none`: who flies which share of the aircraft."""

from functools import cache
from math import fsum
from typing import NamedTuple

from ...datasets.errors import ConfigurationError
from ...datasets.spec import comma_list

SELF = "self"
"""Who is evaluated."""
SILENT = "silent"
"""Who flies straight to the waypoint, and transmits nothing."""
_EXAMPLE = "0.8=self,0.1=mvp,0.1=none"


class Share(NamedTuple):
    """A share of the aircraft of each scenario.

    Attributes:
        share: Above 0; all add up to 1.
        name: Who flies them: `SELF`, `SILENT`, or somebody named as contenders are.
    """

    share: float
    name: str


@cache
def parse(text: str) -> tuple[Share, ...]:
    """Read the text of a mix; `SELF` comes first, the others stay in their order. An empty one is no mix.

    Raises:
        ConfigurationError: It is no such text, or the shares do not add up to 1.
    """
    if not text.strip():
        return ()
    found = [_share(part) for part in comma_list(text, str, "a mix", _EXAMPLE)]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"--mix: expected '{name}' once, got it again in '{text}'. Add the shares up.")
    if SELF not in names or len(names) < 2:
        raise ConfigurationError(
            f"--mix: expected a share of {SELF}, who is evaluated, and one of somebody else, got '{text}'. "
            f"Example: {_EXAMPLE}"
        )
    total = fsum(each.share for each in found)
    if abs(total - 1.0) > 1e-6:
        raise ConfigurationError(f"--mix: expected shares that add up to 1, got '{text}', which come to {total:g}.")
    return tuple(sorted(found, key=lambda each: each.name != SELF))


def _share(part: str) -> Share:
    """Read one share."""
    number, equals, name = part.partition("=")
    try:
        share = float(number)
    except ValueError:
        share = 0.0
    if not (equals and name.strip() and 0.0 < share <= 1.0):
        raise ConfigurationError(
            f"--mix: expected SHARE=NAME with a share above 0, got '{part}'. Example: {_EXAMPLE}"
        )
    return Share(share, name.strip())
