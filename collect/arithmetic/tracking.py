"""Tracking: Kalman filters of what is told, whose errors may last.

Along each axis alike, a filter's state is x = (p, v, e, f): position and velocity, and the errors that the messages
about them have just now. Between two messages, t seconds and k steps apart,

    p' = p + t v,    v' = v,    e' = a^k e,    f' = a^k f,

with a the errors' correlation from one step to the next: what is new in them has the variance (1 - a^2k) sigma^2,
so errors of a = 0 are the usual noise of a measurement and those of a near 1 stay. What is told is p + e and v + f,
and no other noise (coloured measurement noise as part of the state: Bar-Shalom, Li, Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 8.2).

Notation: B episodes, N aircraft, H steps kept (a ring), i the receiver, j the sender.
"""

import numpy as np

from .compiling import entry, inner
from .links import BEFORE, NEVER, OUTAGE
from .noise import normals_of, philox

COVARIANCES = 10
"""Of p, v, e, f: pp, pv, pe, pf, vv, ve, vf, ee, ef, ff."""
_FLOOR = 1e-6
"""Added to the variances of what is told, in m^2 and (m/s)^2: without errors it would be known exactly."""


@inner
def _begin(x: np.ndarray, c: np.ndarray, position: float, velocity: float) -> None:
    """Take the first message's variances: all that is known, so its errors are those of the state.

    Args:
        x: (2, 4), of which p and v are the message.
        c: (10,) changed in place.
        position, velocity: Variances of the errors.
    """
    for axis in range(2):
        x[axis, 2] = x[axis, 3] = 0.0
    for k in range(COVARIANCES):
        c[k] = 0.0
    c[0] = c[7] = position
    c[2] = -position
    c[4] = c[9] = velocity
    c[6] = -velocity


@inner
def _go_on(
    c: np.ndarray, t: float, kept: float, position: float, velocity: float, noise: tuple[float, float, float]
) -> None:
    """Let covariances (10,) grow for t seconds.

    Args:
        c: Changed in place.
        t: In s.
        kept: What is left of the errors.
        position, velocity: Their variances.
        noise: What is added to pp, pv and vv: by how much p and v were not foreseen.
    """
    fresh = 1.0 - kept * kept
    c[0] += t * (2.0 * c[1] + t * c[4]) + noise[0]
    c[1] += t * c[4] + noise[1]
    c[2] = kept * (c[2] + t * c[5])
    c[3] = kept * (c[3] + t * c[6])
    c[4] += noise[2]
    c[5] *= kept
    c[6] *= kept
    c[7] = kept * kept * c[7] + fresh * position
    c[8] *= kept * kept
    c[9] = kept * kept * c[9] + fresh * velocity


@inner
def _learn(x: np.ndarray, c: np.ndarray, told: np.ndarray) -> None:
    """Take a message.

    Args:
        x: (2, 4) changed in place.
        c: (10,) changed in place.
        told: (4,) position and velocity, east and north.
    """
    # the covariances of p, v, e, f with what is told: p + e and v + f
    p, p_2 = c[0] + c[2], c[1] + c[3]
    v, v_2 = c[1] + c[5], c[4] + c[6]
    e, e_2 = c[2] + c[7], c[5] + c[8]
    f, f_2 = c[3] + c[8], c[6] + c[9]
    first, both, second = p + e + _FLOOR, v + f, v_2 + f_2 + _FLOOR
    over = 1.0 / (first * second - both * both)
    gain_p, gain_p_2 = (p * second - p_2 * both) * over, (p_2 * first - p * both) * over
    gain_v, gain_v_2 = (v * second - v_2 * both) * over, (v_2 * first - v * both) * over
    gain_e, gain_e_2 = (e * second - e_2 * both) * over, (e_2 * first - e * both) * over
    gain_f, gain_f_2 = (f * second - f_2 * both) * over, (f_2 * first - f * both) * over
    for axis in range(2):
        away = told[axis] - x[axis, 0] - x[axis, 2]
        away_2 = told[2 + axis] - x[axis, 1] - x[axis, 3]
        x[axis, 0] += gain_p * away + gain_p_2 * away_2
        x[axis, 1] += gain_v * away + gain_v_2 * away_2
        x[axis, 2] += gain_e * away + gain_e_2 * away_2
        x[axis, 3] += gain_f * away + gain_f_2 * away_2
    c[0] -= gain_p * p + gain_p_2 * p_2
    c[1] -= gain_p * v + gain_p_2 * v_2
    c[2] -= gain_p * e + gain_p_2 * e_2
    c[3] -= gain_p * f + gain_p_2 * f_2
    c[4] -= gain_v * v + gain_v_2 * v_2
    c[5] -= gain_v * e + gain_v_2 * e_2
    c[6] -= gain_v * f + gain_v_2 * f_2
    c[7] -= gain_e * e + gain_e_2 * e_2
    c[8] -= gain_e * f + gain_e_2 * f_2
    c[9] -= gain_f * f + gain_f_2 * f_2


@entry
def begin_own(
    own: np.ndarray,
    covariances: np.ndarray,
    is_new: np.ndarray,
    errors: np.ndarray,
    position: float,
    velocity: float,
) -> None:
    """Begin some aircraft's filters of themselves.

    Args:
        own: (B, N, 2, 4) changed in place: by how much p and v are wrong, and what is taken for e and f.
        covariances: (B, N, 10) changed in place.
        is_new: (B, N) bool.
        errors: (B, N, 4) of their navigation, east and north: of position in m and velocity in m/s.
        position, velocity: Variances of these.
    """
    for b in range(own.shape[0]):
        for i in range(own.shape[1]):
            if is_new[b, i]:
                for axis in range(2):
                    own[b, i, axis, 0], own[b, i, axis, 1] = errors[b, i, axis], errors[b, i, 2 + axis]
                _begin(own[b, i], covariances[b, i], position, velocity)


@entry
def follow_own(
    own: np.ndarray,
    covariances: np.ndarray,
    keys: np.ndarray,
    steps: np.ndarray,
    has_gnss: np.ndarray,
    errors: np.ndarray,
    position: float,
    velocity: float,
    kept: float,
    step_s: float,
    growth_mps: float,
) -> None:
    """Go on by a step in everyone's filter of itself, which inertial sensors carry from fix to fix.

    They measure how velocity changes, as well as dead reckoning does without GNSS: v' = v + growth n, n standard
    normal, and p' = p + dt (v + v') / 2, beside the motion itself. Then GNSS says something, wrong by its errors.

    Args:
        own, covariances: See `begin_own`, changed in place.
        keys, steps: (B, 2) and (B,) int64, of which step.
        has_gnss: (B, N) bool.
        errors: (B, N, 4) those with GNSS, in m and m/s.
        position, velocity: Variances of these.
        kept: Their correlation from one step to the next.
        step_s: Duration of a step.
        growth_mps: Standard deviation of what the velocity's error changes by in a step, along each axis.
    """
    noise = growth_mps * growth_mps
    noises = (0.25 * step_s * step_s * noise, 0.5 * step_s * noise, noise)
    for b in range(own.shape[0]):
        key, key_2, counter = int(keys[b, 0]), int(keys[b, 1]), int(steps[b]) + BEFORE
        for i in range(own.shape[1]):
            x, c = own[b, i], covariances[b, i]
            normals = normals_of(philox(counter, i, OUTAGE, 1, key, key_2))
            for axis in range(2):
                before = x[axis, 1]
                x[axis, 1] += growth_mps * normals[axis]
                x[axis, 0] += 0.5 * step_s * (before + x[axis, 1])
                x[axis, 2] *= kept
                x[axis, 3] *= kept
            _go_on(c, step_s, kept, position, velocity, noises)
            if has_gnss[b, i]:
                _learn(x, c, errors[b, i])


@entry
def follow(
    tracks: np.ndarray,
    covariances: np.ndarray,
    stamps: np.ndarray,
    heard: np.ndarray,
    steps: np.ndarray,
    estimates: np.ndarray,
    place: int,
    position: float,
    velocity: float,
    kept: float,
    step_s: float,
    change: float,
) -> None:
    """Take the newest message of each link into the receiver's filter of the sender, where it is new.

    Args:
        tracks: (B, N, N, 2, 4) changed in place: p and v, and what is taken for e and f, at the newest message.
        covariances: (B, N, N, 10) changed in place.
        stamps: (B, N, N) int64, changed in place: the step of that message, `NEVER` before there was one.
        heard: (B, N, N) int64, from `links.listen`.
        steps: (B,) int64, the present step.
        estimates: (H, B, N, 4) float32, what was sent.
        place: Which of H is the present.
        position, velocity: Variances of its errors.
        kept: Their correlation from one step to the next.
        step_s: Duration of a step.
        change: Variance of what a sender's velocity changes by in a second, along each axis: white acceleration.
    """
    ring, episodes, aircraft = estimates.shape[0], estimates.shape[1], estimates.shape[2]
    told = np.empty(4)
    for b in range(episodes):
        for i in range(aircraft):
            for j in range(aircraft):
                step, before = heard[b, i, j], stamps[b, i, j]
                lag = steps[b] - step
                if step <= before or lag >= ring:
                    continue
                past = place - lag if place >= lag else place - lag + ring
                x, c = tracks[b, i, j], covariances[b, i, j]
                for k in range(4):
                    told[k] = estimates[past, b, j, k]
                stamps[b, i, j] = step
                if before == NEVER:
                    for axis in range(2):
                        x[axis, 0], x[axis, 1] = told[axis], told[2 + axis]
                    _begin(x, c, position, velocity)
                    continue
                t, left = (step - before) * step_s, 1.0
                for _ in range(step - before):
                    left *= kept
                for axis in range(2):
                    x[axis, 0] += t * x[axis, 1]
                    x[axis, 2] *= left
                    x[axis, 3] *= left
                noise = (change * t * t * t / 3.0, change * t * t * 0.5, change * t)
                _go_on(c, t, left, position, velocity, noise)
                _learn(x, c, told)
