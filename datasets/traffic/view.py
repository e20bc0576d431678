"""Views: which features an observation holds, and how they are scaled."""

from dataclasses import asdict, dataclass, replace
from typing import Any

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


@dataclass(frozen=True)
class View:
    """Which features an observation holds, and how they are scaled.

    Attributes:
        name: `seed` (the seed's layout, axes east and north), `ego` (the same quantities rotated into
            the ownship's track, so invariant to rotations) or `cpa` (`ego` and, per intruder, tcpa, dcpa,
            closing speed and a conflict flag).
        intruders: How many of the nearest intruders are seen; None for all.
        length_m: What lengths are divided by.
        speed_mps: What speeds are divided by.
        protected_zone_m: Radius for the conflict flag of `cpa`.
        lookahead_s: Look-ahead time for the conflict flag of `cpa`; also what tcpa is divided by.
    """

    name: str = "seed"
    intruders: int | None = None
    length_m: float = 935.0
    speed_mps: float = 18.0
    protected_zone_m: float = 100.0
    lookahead_s: float = 15.0

    def __post_init__(self) -> None:
        if self.name not in INTRUDER_FEATURES:
            raise ObservationError(f"unknown observation '{self.name}'. There are: {', '.join(INTRUDER_FEATURES)}.")
        if self.intruders is not None and (not isinstance(self.intruders, int) or self.intruders < 1):
            raise ObservationError(f"expected 1 or more intruders in the observation, got {self.intruders}")
        for key in ("length_m", "speed_mps", "protected_zone_m", "lookahead_s"):
            value = getattr(self, key)
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ObservationError(f"observation '{self.name}': expected {key} above 0, got {value!r}")

    @classmethod
    def parse(cls, text: str) -> "View":
        """Read a view as written on the command line, such as `ego:intruders=8`.

        Raises:
            ObservationError: Unknown name, unknown parameter or not a number.
        """
        name, *parameters = text.split(":")
        view = cls(name)
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key not in asdict(view) or key == "name":
                known = ", ".join(k for k in asdict(view) if k != "name")
                raise ObservationError(f"observation '{text}': no parameter '{key}'. There are: {known}.")
            try:
                number: Any = int(value) if key == "intruders" else float(value)
            except ValueError:
                raise ObservationError(
                    f"observation '{text}': expected a number for {key}, got '{value}'"
                ) from None
            view = replace(view, **{key: number})
        return view

    def __str__(self) -> str:
        """Return the text `parse` reads."""
        default = asdict(View(self.name))
        changed = [f"{key}={value}" for key, value in asdict(self).items() if value != default[key]]
        return ":".join([self.name, *changed])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "View":
        """Read what `to_json` made.

        Raises:
            ObservationError: A key is unknown or missing.
        """
        if set(data) != set(asdict(cls())):
            raise ObservationError(
                f"expected a view with the keys {sorted(asdict(cls()))}, got {sorted(data)}. "
                "Was it written by another version of skyclone?"
            )
        return cls(**data)

    @property
    def ownship_features(self) -> int:
        """Number of features of the ownship."""
        return OWNSHIP_FEATURES

    @property
    def intruder_features(self) -> int:
        """Number of features F of each intruder."""
        return INTRUDER_FEATURES[self.name]

    def seen(self, aircraft: int) -> int:
        """Return K, how many intruders are seen among so many aircraft."""
        others = max(aircraft - 1, 0)
        return others if self.intruders is None else min(self.intruders, others)
