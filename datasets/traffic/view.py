"""Views: which features an observation holds, and how they are scaled."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import Field

from .. import spec
from ..config import Config, config, fields_of
from ..errors import ObservationError

OWNSHIP_FEATURES = 7


INTRUDER_FEATURES = {"seed": 5, "ego": 5, "cpa": 9}


FEATURE_NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "seed": (
        ("cos_drift", "sin_drift", "speed", "east", "north", "velocity_east", "velocity_north"),
        ("distance", "east", "north", "velocity_east", "velocity_north"),
    ),
    "ego": (
        ("cos_drift", "sin_drift", "speed", "centre_right", "centre_ahead", "waypoint_right", "waypoint_ahead"),
        ("distance", "right", "ahead", "velocity_right", "velocity_ahead"),
    ),
}
FEATURE_NAMES["cpa"] = (
    FEATURE_NAMES["ego"][0],
    (*FEATURE_NAMES["ego"][1], "tcpa", "dcpa", "closing_speed", "in_conflict"),
)


OF_WORLD = {
    "length_m": "sector_radius_m",
    "speed_mps": "max_speed_mps",
    "protected_zone_m": "protected_zone_m",
    "lookahead_s": "lookahead_s",
}
"""The numbers of a view that are a world's, where nothing else is said, by the world's names for them."""
BOUND = 2.2
"""Sector radii: in the reference world nobody is that far from anything."""


def scale_of(world: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that a world, as JSON, gives its views; what it lacks is as in the reference world."""
    return {key: world[name] for key, name in OF_WORLD.items() if name in world}


@config
class View(Config):
    """Which features an observation holds, and how they are scaled.

    The defaults are the numbers of the reference world; `scale_of` has those of others.
    """

    error = ObservationError
    title = "observation"

    name: str = Field(
        default="seed",
        description="`seed` (the seed's layout, axes east and north), `ego` (the same quantities rotated into "
        "the ownship's track, so invariant to rotations) or `cpa` (`ego` and, per intruder, tcpa, dcpa, closing "
        "speed and a conflict flag).",
    )
    intruders: int | None = Field(default=None, ge=1, description="How many of the nearest are seen; None for all.")
    length_m: float = Field(default=935.0, gt=0, description="What lengths are divided by.")
    speed_mps: float = Field(default=18.0, gt=0, description="What speeds are divided by.")
    protected_zone_m: float = Field(default=100.0, gt=0, description="Radius for the conflict flag of `cpa`.")
    lookahead_s: float = Field(
        default=15.0,
        gt=0,
        description="Look-ahead time for that flag; also what tcpa is divided by.",
    )
    bound: float = Field(
        default=BOUND,
        gt=0,
        description="How far is seen, in units of `length_m`. An intruder farther away is seen in its direction at "
        "that distance, the centre of the sector at half of it. To a waypoint farther away it flies as from the "
        "centre of a sector to its edge.",
    )

    def __post_init__(self) -> None:
        spec.find(self.name, "observation", INTRUDER_FEATURES, ObservationError)

    @classmethod
    def parse(cls, text: str, scale: Mapping[str, float] | None = None) -> "View":
        """Read a view as written on the command line, such as `ego:intruders=8`.

        Args:
            text: The view.
            scale: What holds of the numbers that the text leaves out, see `scale_of`; else the defaults.

        Raises:
            ObservationError: Unknown name, unknown parameter or not a number.
        """
        name, parameters = cls._read(text)
        return cls(name, **{**(scale or {}), **parameters})

    @classmethod
    def stored(cls, data: Any, world: Any) -> "View":
        """Read what `to_json` made, perhaps before views had a bound: then one that binds nothing of its world.

        Args:
            data: The view.
            world: The world it was trained in, as JSON; None if that is not known.

        Raises:
            ObservationError: A key is missing or unknown, or a value cannot be.
        """
        if not isinstance(data, Mapping) or "bound" in data:
            return cls.from_json(data)
        view = cls.from_json({**data, "bound": BOUND})
        radius = scale_of(world).get("length_m", 0.0) if isinstance(world, Mapping) else 0.0
        return replace(view, bound=max(BOUND, BOUND * radius / view.length_m))

    @classmethod
    def canonical(cls, text: str) -> str:
        """Return a view's text in one form, with what it says and nothing else.

        Raises:
            ObservationError: As `parse`.
        """
        cls.parse(text)
        name, parameters = cls._read(text)
        return ":".join([name, *(f"{key}={parameters[key]}" for key in fields_of(cls) if key in parameters)])

    @classmethod
    def _read(cls, text: str) -> tuple[str, dict[str, Any]]:
        """Return the name and the parameters that a text gives."""
        views = dict.fromkeys(INTRUDER_FEATURES, cls)
        name, parameters = spec.parse(text, "observation", views, skip=1, error=ObservationError)
        whole = {key: float(value) for key, value in parameters.items() if key != "intruders"}
        return name, {**parameters, **whole}

    def __str__(self) -> str:
        """Return the text `parse` reads."""
        return self.text()

    def text(self, scale: Mapping[str, float] | None = None) -> str:
        """Return a text that `parse` reads as this view, with this scale as well as without one."""
        default = asdict(View(self.name))
        other = {**default, **(scale or {})}
        changed = [
            f"{key}={value}"
            for key, value in asdict(self).items()
            if value != default[key] or other[key] != default[key]
        ]
        return ":".join([self.name, *changed])

    @property
    def scale(self) -> dict[str, float]:
        """Its numbers, as `parse` takes them."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "intruders")}

    @property
    def ownship_features(self) -> int:
        """Number of features of the ownship."""
        return OWNSHIP_FEATURES

    @property
    def intruder_features(self) -> int:
        """Number of features F of each intruder."""
        return INTRUDER_FEATURES[self.name]

    def seen(self, aircraft: int) -> int:
        """Return K, how many intruders are seen among `aircraft` aircraft."""
        others = max(aircraft - 1, 0)
        return others if self.intruders is None else min(self.intruders, others)
