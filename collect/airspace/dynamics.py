"""Point-mass dynamics with BlueSky's M600 limits, integrated exactly enough over one decision step.

BlueSky (`traffic.update_airspeed`, `update_pos`) steps 0.05 s at a time: speed at a constant acceleration,
heading at a turn rate of g tan(bank) / speed, position along the new heading. Here one step of 1 s is taken
in closed form. The distance flown is exact; at constant speed the turn's displacement has a relative error of
(turn/2)^4 / 180, and turning while changing speed moves it by up to 0.2 m (against BlueSky: 1 m after 60 s of
random commands, see the test).
"""

from dataclasses import replace

import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic, wrap_angle
from .fleet import Limits, limits_of
from .world_config import WorldConfig

LEAST_AIRSPEED_MPS = 0.01
"""Below it an aircraft stands still in the air; BlueSky's least, too, in turns."""


def advance(
    traffic: Traffic, action: Tensor, config: WorldConfig, wind: tuple[Tensor, Tensor] | None = None
) -> Traffic:
    """Fly one decision step.

    Args:
        traffic: (B, N) states.
        action: (B, N, 2) turn and speed change in action units, clipped to [-1, 1] here.
        config: The world.
        wind: Wind after the step towards east and north, each (B, N) m/s; None where there is none. Speed and turn
            limits are those through the air; track and speed of the states are over ground.

    Returns:
        (B, N) states after the step; aircraft that do not fly stay where they are.
    """
    action = action.clamp(-1.0, 1.0)
    limits = limits_of(config, traffic)
    speed, track = through_air(traffic)
    target = speed + action[..., 1] * config.speed_change_mps
    target = torch.clamp(target, limits.min_speed_mps, limits.max_speed_mps)  # type: ignore[arg-type]
    most = limits.acceleration_mps2 * config.step_s
    change = torch.clamp(target - speed, -most, most)  # type: ignore[arg-type]
    new_speed = speed + change

    turn, turn_s = _turn(action[..., 0] * config.turn_rad, speed, new_speed, change, limits, config.step_s)
    distance = _distance(torch.full_like(speed, config.step_s), speed, new_speed, change, limits.acceleration_mps2)
    in_turn = _distance(turn_s, speed, new_speed, change, limits.acceleration_mps2)
    half = 0.5 * turn
    chord = in_turn * (2.0 + torch.cos(half)) / 3.0  # sin(half)/half by Simpson's rule
    new_track = track + turn
    rest = distance - in_turn
    east = chord * torch.sin(track + half) + rest * torch.sin(new_track)
    north = chord * torch.cos(track + half) + rest * torch.cos(new_track)

    is_flying = traffic.is_flying
    if wind is not None and traffic.is_hovering is not None:  # it keeps its place, whatever it takes
        is_flying = is_flying & ~traffic.is_hovering
    if wind is not None and traffic.wind_east_mps is not None and traffic.wind_north_mps is not None:
        east, north = east + traffic.wind_east_mps * config.step_s, north + traffic.wind_north_mps * config.step_s
        new_speed, new_track = _over_ground(new_speed, new_track, *wind)
    return replace(
        traffic,
        east_m=torch.where(is_flying, traffic.east_m + east, traffic.east_m),
        north_m=torch.where(is_flying, traffic.north_m + north, traffic.north_m),
        track_rad=torch.where(is_flying, wrap_angle(new_track), traffic.track_rad),
        speed_mps=torch.where(is_flying, new_speed, traffic.speed_mps),
        wind_east_mps=None if wind is None else wind[0],
        wind_north_mps=None if wind is None else wind[1],
    )


def through_air(traffic: Traffic) -> tuple[Tensor, Tensor]:
    """Return airspeed (m/s) and heading (rad), each (..., N): speed and track where there is no wind.

    At rest in the air the difference to the wind is rounding: the heading is then that to the waypoint.
    """
    if traffic.wind_east_mps is None:
        return traffic.speed_mps, traffic.track_rad
    east, north = traffic.air_velocity
    is_still = east * east + north * north < LEAST_AIRSPEED_MPS * LEAST_AIRSPEED_MPS
    bearing = traffic.bearing_rad.detach()
    heading = torch.atan2(
        torch.where(is_still, torch.sin(bearing), east), torch.where(is_still, torch.cos(bearing), north)
    )
    return torch.where(is_still, 0.0, torch.hypot(torch.where(is_still, 1.0, east), north)), heading


def _over_ground(speed: Tensor, heading: Tensor, wind_east: Tensor, wind_north: Tensor) -> tuple[Tensor, Tensor]:
    """Return ground speed and track of an airspeed and a heading in wind."""
    east, north = speed * torch.sin(heading) + wind_east, speed * torch.cos(heading) + wind_north
    return torch.hypot(east, north), torch.atan2(east, north)


def _distance(
    time_s: Tensor, speed: Tensor, new_speed: Tensor, change: Tensor, acceleration_mps2: float | Tensor
) -> Tensor:
    """Return the distance flown in the first `time_s` of the step, accelerating first, then at `new_speed`."""
    accelerating_s = torch.minimum(change.abs() / acceleration_mps2, time_s)
    gained = 0.5 * acceleration_mps2 * torch.sign(change) * accelerating_s * accelerating_s
    return speed * accelerating_s + gained + new_speed * (time_s - accelerating_s)


def _turn(
    wanted: Tensor, speed: Tensor, new_speed: Tensor, change: Tensor, limits: Limits, step_s: float
) -> tuple[Tensor, Tensor]:
    """Return the turn made (rad) and the time it takes (s), at a turn rate of g tan(bank) / speed."""
    slow, fast = speed.clamp_min(LEAST_AIRSPEED_MPS), new_speed.clamp_min(LEAST_AIRSPEED_MPS)
    accelerating = (change.abs() / limits.acceleration_mps2) / step_s
    while_accelerating = (1.0 / slow + 8.0 / (slow + fast) + 1.0 / fast) / 6.0  # mean of 1/speed, Simpson
    rate = limits.pull_mps2 * (
        accelerating * while_accelerating + (1.0 - accelerating) / fast
    )  # mean over the step
    most = rate * step_s
    turn = torch.clamp(wanted, -most, most)
    return turn, turn.abs() / rate
