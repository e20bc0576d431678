"""The world's parameters: every number of the reference world, in one frozen dataclass."""

from dataclasses import asdict, dataclass, fields
from math import pi, radians
from typing import Any

from ...datasets.errors import ConfigurationError
from .units import KNOT_MPS, NAUTICAL_MILE_M

EMBEDDED = "embedded"
"""The default simulator."""


@dataclass(frozen=True)
class WorldConfig:
    """The reference world (20 M600 drones in a busy sector); every number is a parameter.

    The speed, turn and acceleration limits are those of BlueSky's M600 (OpenAP rotor model), except
    that BlueSky lets it fly backwards (-18 m/s) where a track with a negative speed would contradict
    the meaning of a track: here the lowest speed is 0.

    Attributes:
        aircraft: Number of aircraft N at the start.
        scenario: How the traffic is laid out, such as `sector` or `random-n:low=5`.
        cruise_mps: Speed at the start and speed without conflict.
        min_speed_mps: Lowest speed.
        max_speed_mps: Highest speed.
        acceleration_mps2: Acceleration and deceleration limit (BlueSky: 3.5 for every rotorcraft).
        bank_rad: Bank angle in turns; turn rate = g tan(bank) / speed.
        sector_radius_m: Radius of the circle on which the sector's corners lie.
        sector_area_m2: Corners are added until the polygon is at least this large.
        start_separation_m: Smallest distance between two aircraft at the start.
        step_s: Duration of one decision step.
        max_steps: Steps until the time limit.
        protected_zone_m: R; a distance below it is a loss of separation.
        lookahead_s: Look-ahead time of conflict detection.
        turn_rad: Turn for an action of 1.
        speed_change_mps: Speed change for an action of 1.
        waypoint_radius_m: A waypoint is reached within this distance.
        outside_m: An aircraft farther than this outside the polygon has left the sector.
        reward: Name of the reward.
        simulator: What moves the aircraft: `embedded`, or `bluesky` such as `bluesky:simdt_s=0.05`.
    """

    aircraft: int = 20
    scenario: str = "sector"
    cruise_mps: float = 9.0
    min_speed_mps: float = 0.0
    max_speed_mps: float = 18.0
    acceleration_mps2: float = 3.5
    bank_rad: float = radians(25.0)
    sector_radius_m: float = 935.0
    sector_area_m2: float = 0.75 * NAUTICAL_MILE_M**2
    start_separation_m: float = 125.0
    step_s: float = 1.0
    max_steps: int = 300
    protected_zone_m: float = 100.0
    lookahead_s: float = 15.0
    turn_rad: float = pi / 4
    speed_change_mps: float = 10.0 / 3.0 * KNOT_MPS
    waypoint_radius_m: float = 0.01 * NAUTICAL_MILE_M
    outside_m: float = 50.0
    reward: str = "seed"
    simulator: str = EMBEDDED

    def __post_init__(self) -> None:
        if not isinstance(self.aircraft, int) or self.aircraft < 1:
            raise ConfigurationError(f"expected 1 or more aircraft, got {self.aircraft}. Use --aircraft 20.")
        if self.aircraft > 32_000:
            raise ConfigurationError(f"expected at most 32000 aircraft (stored as int16), got {self.aircraft}")
        if not isinstance(self.max_steps, int) or not 1 <= self.max_steps <= 32_000:
            raise ConfigurationError(
                f"expected max_steps from 1 to 32000 (steps are stored as int16), got {self.max_steps}"
            )
        may_be_zero = ("min_speed_mps", "start_separation_m", "outside_m")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (float, "float") and not (
                isinstance(value, int | float)
                and (0 < value < float("inf") or (value == 0 and field.name in may_be_zero))
            ):
                raise ConfigurationError(f"expected {field.name} to be a number above 0, got {value!r}")
        if not self.min_speed_mps <= self.cruise_mps <= self.max_speed_mps:
            raise ConfigurationError(
                f"expected min_speed_mps <= cruise_mps <= max_speed_mps, got "
                f"{self.min_speed_mps}, {self.cruise_mps}, {self.max_speed_mps}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; without the simulator where it is the default, as before there was another."""
        data = asdict(self)
        if self.simulator == EMBEDDED:
            del data["simulator"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "WorldConfig":
        """Read what `to_json` made.

        Raises:
            ConfigurationError: A key is unknown or missing, or a value is out of range.
        """
        known = {field.name for field in fields(cls)}
        missing = known - {*data, "simulator"}
        if missing or set(data) - known:
            raise ConfigurationError(
                f"expected the world's parameters {sorted(known)}; missing: {sorted(missing)}, "
                f"unknown: {sorted(set(data) - known)}. Was this written by another version of skyclone?"
            )
        return cls(**data)
