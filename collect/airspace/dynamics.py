"""Point-mass dynamics with BlueSky's M600 limits, integrated exactly enough over one decision step.

BlueSky (`traffic.update_airspeed`, `update_pos`) steps 0.05 s at a time: speed at a constant acceleration,
heading at a turn rate of g tan(bank) / speed, position along the new heading. Here one step of 1 s is taken
in closed form. The distance flown is exact; at constant speed the turn's displacement has a relative error of
(turn/2)^4 / 180, and turning while changing speed moves it by up to 0.2 m (against BlueSky: 1 m after 60 s of
random commands, see the test).
"""

from math import tan

import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic, wrap_angle
from .units import GRAVITY_MPS2
from .world_config import WorldConfig


def advance(traffic: Traffic, action: Tensor, config: WorldConfig) -> Traffic:
    """Fly one decision step.

    Args:
        traffic: (B, N) states.
        action: (B, N, 2) turn and speed change in action units, clipped to [-1, 1] here.
        config: The world.

    Returns:
        (B, N) states after the step; aircraft that do not fly stay where they are.
    """
    action = action.clamp(-1.0, 1.0)
    speed, track = traffic.speed_mps, traffic.track_rad
    target = (speed + action[..., 1] * config.speed_change_mps).clamp(config.min_speed_mps, config.max_speed_mps)
    most = config.acceleration_mps2 * config.step_s
    change = (target - speed).clamp(-most, most)
    new_speed = speed + change

    turn, turn_s = _turn(action[..., 0] * config.turn_rad, speed, new_speed, change, config)
    distance = _distance(torch.full_like(speed, config.step_s), speed, new_speed, change, config)
    in_turn = _distance(turn_s, speed, new_speed, change, config)
    half = 0.5 * turn
    chord = in_turn * (2.0 + torch.cos(half)) / 3.0  # sin(half)/half by Simpson's rule
    new_track = track + turn
    rest = distance - in_turn
    east = chord * torch.sin(track + half) + rest * torch.sin(new_track)
    north = chord * torch.cos(track + half) + rest * torch.cos(new_track)

    is_flying = traffic.is_flying
    return Traffic(
        torch.where(is_flying, traffic.east_m + east, traffic.east_m),
        torch.where(is_flying, traffic.north_m + north, traffic.north_m),
        torch.where(is_flying, wrap_angle(new_track), track),
        torch.where(is_flying, new_speed, speed),
        traffic.waypoint_east_m,
        traffic.waypoint_north_m,
        is_flying,
        traffic.is_hovering,
    )


def _distance(time_s: Tensor, speed: Tensor, new_speed: Tensor, change: Tensor, config: WorldConfig) -> Tensor:
    """Return the distance flown in the first `time_s` of the step, accelerating first, then at `new_speed`."""
    accelerating_s = torch.minimum(change.abs() / config.acceleration_mps2, time_s)
    gained = 0.5 * config.acceleration_mps2 * torch.sign(change) * accelerating_s * accelerating_s
    return speed * accelerating_s + gained + new_speed * (time_s - accelerating_s)


def _turn(
    wanted: Tensor, speed: Tensor, new_speed: Tensor, change: Tensor, config: WorldConfig
) -> tuple[Tensor, Tensor]:
    """Return the turn made (rad) and the time it takes (s), at a turn rate of g tan(bank) / speed."""
    pull = GRAVITY_MPS2 * tan(config.bank_rad)
    slow, fast = speed.clamp_min(0.01), new_speed.clamp_min(0.01)  # as BlueSky: max(tas, 0.01)
    accelerating = (change.abs() / config.acceleration_mps2) / config.step_s
    while_accelerating = (1.0 / slow + 8.0 / (slow + fast) + 1.0 / fast) / 6.0  # mean of 1/speed, Simpson
    rate = pull * (accelerating * while_accelerating + (1.0 - accelerating) / fast)  # mean over the step
    most = rate * config.step_s
    turn = torch.clamp(wanted, -most, most)
    return turn, turn.abs() / rate
