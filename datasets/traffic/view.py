"""Views: which features an observation holds, and how they are scaled."""

from dataclasses import asdict

from pydantic import Field

from .. import spec
from ..config import Config, config
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


@config
class View(Config):
    """Which features an observation holds, and how they are scaled."""

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

    def __post_init__(self) -> None:
        spec.find(self.name, "observation", INTRUDER_FEATURES, ObservationError)

    @classmethod
    def parse(cls, text: str) -> "View":
        """Read a view as written on the command line, such as `ego:intruders=8`.

        Raises:
            ObservationError: Unknown name, unknown parameter or not a number.
        """
        views = dict.fromkeys(INTRUDER_FEATURES, cls)
        name, parameters = spec.parse(text, "observation", views, skip=1, error=ObservationError)
        return cls(name, **parameters)

    def __str__(self) -> str:
        """Return the text `parse` reads."""
        default = asdict(View(self.name))
        changed = [f"{key}={value}" for key, value in asdict(self).items() if value != default[key]]
        return ":".join([self.name, *changed])

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
