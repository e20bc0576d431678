"""The world's parameters: every number of the reference world, in one frozen config."""

from math import pi, radians

from pydantic import Field

from ...datasets.config import Config, config
from ...datasets.errors import ConfigurationError
from ..surveillance import config as surveillance
from .aircraft_types import members_of
from .units import KNOT_MPS, NAUTICAL_MILE_M

EMBEDDED = "embedded"
"""The default simulator."""


@config
class WorldConfig(Config):
    """The reference world (20 M600 drones in a busy sector); every number is a parameter.

    The speed, turn and acceleration limits are those of BlueSky's M600 (OpenAP rotor model), except
    that BlueSky lets it fly backwards (-18 m/s) where a track with a negative speed would contradict
    the meaning of a track: here the lowest speed is 0.
    """

    title = "the world's parameters"
    added = (
        "simulator",
        "fleet",
        "wind_east_mps",
        "wind_north_mps",
        "gust_mps",
        "gust_s",
        "surveillance",
        "nmac_m",
    )

    aircraft: int = Field(
        default=20,
        ge=1,
        le=32_000,
        description="Aircraft in each episode at the start, N.",
        json_schema_extra={"hint": "Use --aircraft 20. Aircraft are numbered in int16."},
    )
    scenario: str = Field(
        default="sector",
        description="How the traffic is laid out: a name, or file:PATH of BlueSky's .scn, or of a folder of them.",
    )
    cruise_mps: float = Field(default=9.0, gt=0, description="Speed at the start and speed without conflict.")
    min_speed_mps: float = Field(default=0.0, ge=0, description="Lowest speed.")
    max_speed_mps: float = Field(default=18.0, gt=0, description="Highest speed.")
    acceleration_mps2: float = Field(
        default=3.5, gt=0, description="Acceleration and deceleration limit (BlueSky: 3.5 for every rotorcraft)."
    )
    bank_rad: float = Field(
        default=radians(25.0), gt=0, description="Bank angle in turns; turn rate = g tan(bank) / speed."
    )
    sector_radius_m: float = Field(
        default=935.0, gt=0, description="Radius of the circle on which the sector's corners lie."
    )
    sector_area_m2: float = Field(
        default=0.75 * NAUTICAL_MILE_M * NAUTICAL_MILE_M,
        gt=0,
        description="Corners are added until the polygon is at least this large.",
    )
    start_separation_m: float = Field(
        default=125.0, ge=0, description="Smallest distance between two aircraft at the start."
    )
    step_s: float = Field(default=1.0, gt=0, description="Duration of one decision step.")
    max_steps: int = Field(
        default=300,
        ge=1,
        le=32_000,
        description="Steps until the time limit.",
        json_schema_extra={"hint": "Steps are stored as int16."},
    )
    protected_zone_m: float = Field(
        default=100.0, gt=0, description="R; a distance below it is a loss of separation."
    )
    lookahead_s: float = Field(default=15.0, gt=0, description="Look-ahead time of conflict detection.")
    turn_rad: float = Field(default=pi / 4, gt=0, description="Turn for an action of 1.")
    speed_change_mps: float = Field(
        default=10.0 / 3.0 * KNOT_MPS, gt=0, description="Speed change for an action of 1."
    )
    waypoint_radius_m: float = Field(
        default=0.01 * NAUTICAL_MILE_M, gt=0, description="A waypoint is reached within this distance."
    )
    outside_m: float = Field(
        default=50.0, ge=0, description="An aircraft farther than this outside the polygon has left the sector."
    )
    reward: str = Field(default="seed", description="Name of the reward.")
    simulator: str = Field(
        default=EMBEDDED, description="What they fly in; bluesky takes :simdt_s=0.05, its time step."
    )

    fleet: str = Field(
        default="",
        description="Types of aircraft and their shares, such as m600=0.7,wing=0.3; empty for one type.",
    )
    wind_east_mps: float = Field(default=0.0, ge=-100, le=100, description="Steady wind towards east.")
    wind_north_mps: float = Field(default=0.0, ge=-100, le=100, description="Steady wind towards north.")
    gust_mps: float = Field(
        default=0.0, ge=0, le=50, description="Standard deviation of the gusts along each axis, the same for all."
    )
    gust_s: float = Field(default=20.0, gt=0, description="Time over which gusts are correlated.")

    surveillance: str = Field(
        default=surveillance.PERFECT,
        description="What aircraft know of each other: perfect, ads-b, remote-id, or noise, with :key=value.",
    )
    nmac_m: float = Field(
        default=15.24, gt=0, description="A distance below it, and below R, is a near mid-air collision (NMAC)."
    )

    @property
    def is_compiled(self) -> bool:
        """Whether the kernels, where they compile, fly teachers in it; else torch does."""
        return self.simulator == EMBEDDED and self.surveillance == surveillance.PERFECT

    @property
    def flight_steps(self) -> float:
        """Steps that an aircraft flies, for estimates: across the sector, or a third of the time limit if less."""
        across = 2.0 * self.sector_radius_m / (self.cruise_mps * self.step_s)
        return max(1.0, min(across, self.max_steps / 3.0))

    def __post_init__(self) -> None:
        members_of(self.fleet)
        quality = surveillance.parse(self.surveillance)
        if quality is not None:
            quality.track_steps(self.step_s)
        if not self.min_speed_mps <= self.cruise_mps <= self.max_speed_mps:
            raise ConfigurationError(
                f"expected min_speed_mps <= cruise_mps <= max_speed_mps, got "
                f"{self.min_speed_mps}, {self.cruise_mps}, {self.max_speed_mps}"
            )
