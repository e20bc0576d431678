"""Links: which messages of whom have reached whom, and with what errors, drawn in no order.

Every draw is a function of (episode's key, step, aircraft, aircraft), so batches, restarts and the order in which
steps are looked at change nothing.

Notation: B episodes, N aircraft, H steps kept (a ring), i the receiver, j the sender, lag in steps.
"""

from math import floor

import numpy as np

from .compiling import entry, inner
from .elementary import logarithm
from .noise import normals_of, philox

BEFORE = 2**15
"""Added to steps in counters: messages from before an episode have negative ones."""
NEVER = -(2**31)
"""The step of a message that was never received."""
_POSITION, _VELOCITY, _LINK, _SENDER, OUTAGE = 1, 2, 3, 4, 5  # third number of the counter
_WORD = 2.3283064365386963e-10  # 2^-32
_HALF_WORD = 1.52587890625e-05  # 2^-16


@entry
def next_errors(keys: np.ndarray, steps: np.ndarray, before: np.ndarray, kept: float) -> np.ndarray:
    """Return errors of standard deviation 1 of position and velocity, east and north, (B, N, 4).

    A Gauss-Markov process of first order: e' = kept e + sqrt(1 - kept^2) n.

    Args:
        keys: (B, 2) int64.
        steps: (B,) int64, of which step.
        before: (B, N, 4) those of the step before.
        kept: Their correlation from one step to the next.
    """
    made = np.empty(before.shape)
    fresh = np.sqrt(1.0 - kept * kept)
    for b in range(before.shape[0]):
        key, key_2, counter = int(keys[b, 0]), int(keys[b, 1]), int(steps[b]) + BEFORE
        for j in range(before.shape[1]):
            east, north = normals_of(philox(counter, j, _POSITION, 0, key, key_2))
            rate_east, rate_north = normals_of(philox(counter, j, _VELOCITY, 0, key, key_2))
            made[b, j, 0] = kept * before[b, j, 0] + fresh * east
            made[b, j, 1] = kept * before[b, j, 1] + fresh * north
            made[b, j, 2] = kept * before[b, j, 2] + fresh * rate_east
            made[b, j, 3] = kept * before[b, j, 3] + fresh * rate_north
    return made


@entry
def dead_reckon(
    keys: np.ndarray,
    steps: np.ndarray,
    is_there: np.ndarray,
    is_lost: np.ndarray,
    errors: np.ndarray,
    with_gnss: np.ndarray,
    loss: float,
    recovery: float,
    step_s: float,
    growth_mps: float,
) -> None:
    """Let aircraft lose GNSS and find it again, and those without it drift, by one step.

    Without it e_v' = e_v + growth n, n standard normal, and e_p' = e_p + dt (e_v + e_v') / 2: the velocity's error
    is a random walk, and the position's its integral.

    Args:
        keys, steps: (B, 2) and (B,) int64, of which step.
        is_there: (B, N) bool; who is not has GNSS.
        is_lost: (B, N) bool, changed in place: who is without GNSS.
        errors: (B, N, 4) changed in place: of position in m and velocity in m/s, east and north.
        with_gnss: (B, N, 4) what these are with GNSS.
        loss: Probability that GNSS is lost in a step,
        recovery: and found again.
        step_s: Duration of a step.
        growth_mps: Standard deviation of what the velocity's error changes by in a step, along each axis.
    """
    for b in range(errors.shape[0]):
        key, key_2, counter = int(keys[b, 0]), int(keys[b, 1]), int(steps[b]) + BEFORE
        for j in range(errors.shape[1]):
            unit = philox(counter, j, OUTAGE, 0, key, key_2)[0] * _WORD  # in [0, 1)
            is_lost[b, j] = is_there[b, j] and (unit >= recovery if is_lost[b, j] else unit < loss)
            if not is_lost[b, j]:
                for k in range(4):
                    errors[b, j, k] = with_gnss[b, j, k]
                continue
            normals = normals_of(philox(counter, j, OUTAGE, 1, key, key_2))
            for k in range(2):
                before = errors[b, j, 2 + k]
                errors[b, j, 2 + k] = before + growth_mps * normals[k]
                errors[b, j, k] += 0.5 * step_s * (before + errors[b, j, 2 + k])


@entry
def senders(keys: np.ndarray, aircraft: int) -> np.ndarray:
    """Return two uniform numbers in [0, 1) of each aircraft, (B, N, 2): its phase, and whether it is silent."""
    made = np.empty((len(keys), aircraft, 2))
    for b in range(len(keys)):
        key, key_2 = int(keys[b, 0]), int(keys[b, 1])
        for j in range(aircraft):
            words = philox(0, j, _SENDER, 0, key, key_2)
            made[b, j, 0], made[b, j, 1] = words[0] * _WORD, words[1] * _WORD
    return made


@inner
def _sends(step: int, phase: float, per_step: float) -> bool:
    """Return whether an aircraft broadcasts at a step; 0 per step stands for at least one."""
    if per_step == 0.0:
        return True
    time = (step + BEFORE) * per_step + phase
    return floor(time) > floor(time - per_step)


@inner
def _lag(word: int, latency: float, spread: float) -> int:
    """Return after how many steps a message arrives; of parts of a step that is right on average."""
    part, rounding = (word >> 16) * _HALF_WORD, (word & 0xFFFF) * _HALF_WORD
    return floor(latency + spread * (2.0 * part - 1.0) + rounding + 1e-9)


@inner
def _is_lost(word: int, other: int, lag: int, distance2: float, quality: tuple[float, float, float, float]) -> bool:
    """Return whether a message is not there, or not yet.

    It is received with probability reception exp(-distance^2 / range^2), and there after its own lag.
    """
    latency, spread, reception, range_m = quality
    unit = (word + 1.0) * _WORD  # in (0, 1]
    if unit > reception or _lag(other, latency, spread) > lag:
        return True
    return range_m > 0.0 and distance2 >= -range_m * range_m * logarithm(unit / reception)


@entry
def listen(
    heard: np.ndarray,
    keys: np.ndarray,
    steps: np.ndarray,
    is_flying: np.ndarray,
    phases: np.ndarray,
    estimates: np.ndarray,
    place: int,
    per_step: float,
    latency: float,
    spread: float,
    reception: float,
    range_m: float,
) -> None:
    """Find the newest message that has reached each receiver from each sender.

    Args:
        heard: (B, N, N) int64, changed in place: the step of the newest message i has from j, or `NEVER`.
        keys: (H, B, 2) int64, those of the steps in which messages were sent.
        steps: (B,) int64, the present step.
        is_flying: (B, N) bool.
        phases: (B, N) when each one broadcasts; below 0 if it never does.
        estimates: (H, B, N, 4) float32, east, north and velocities as everyone knew them of itself.
        place: Which of H is the present.
        per_step: Broadcasts in a step, 0 for at least one.
        latency: Mean lag, which is uniform within
        spread: of it.
        reception: Probability of reception beside each other.
        range_m: Where it has fallen to 1/e of that; 0 if it does not.
    """
    kept, episodes, aircraft = estimates.shape[0], estimates.shape[1], estimates.shape[2]
    quality = (latency, spread, reception, range_m)
    is_drawn = reception < 1.0 or range_m > 0.0 or spread > 0.0 or latency != floor(latency)
    least = floor(latency - spread + 1e-9)
    for b in range(episodes):
        for i in range(aircraft):
            for j in range(i + 1, aircraft):
                if not (is_flying[b, i] and is_flying[b, j]):
                    continue
                is_open, is_open_back = phases[b, j] >= 0.0, phases[b, i] >= 0.0
                for lag in range(least, kept):
                    step = int(steps[b]) - lag
                    is_open = is_open and heard[b, i, j] < step
                    is_open_back = is_open_back and heard[b, j, i] < step
                    if not (is_open or is_open_back):
                        break
                    comes = is_open and _sends(step, phases[b, j], per_step)
                    comes_back = is_open_back and _sends(step, phases[b, i], per_step)
                    if is_drawn and (comes or comes_back):
                        past = place - lag if place >= lag else place - lag + kept
                        words = philox(step + BEFORE, i, _LINK, j, int(keys[past, b, 0]), int(keys[past, b, 1]))
                        east = float(estimates[past, b, j, 0]) - float(estimates[past, b, i, 0])
                        north = float(estimates[past, b, j, 1]) - float(estimates[past, b, i, 1])
                        distance2 = east * east + north * north
                        comes = comes and not _is_lost(words[0], words[2], lag, distance2, quality)
                        comes_back = comes_back and not _is_lost(words[1], words[3], lag, distance2, quality)
                    if comes:
                        heard[b, i, j] = step
                    if comes_back:
                        heard[b, j, i] = step


@entry
def tracks(
    heard: np.ndarray,
    steps: np.ndarray,
    is_flying: np.ndarray,
    own: np.ndarray,
    estimates: np.ndarray,
    place: int,
    filtered: np.ndarray,
    ahead_s: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where everyone is by the newest messages, or by filters of them.

    Args:
        heard: (B, N, N), from `listen`.
        steps: (B,) int64, the present step.
        is_flying: (B, N) bool.
        own: (B, N, 4) float64, position and velocity, east and north, as each one knows itself.
        estimates: (H, B, N, 4) float32, what was sent.
        place: Which of H is the present.
        filtered: (B, N, N, 2, 4) of which p and v are where filters have everyone at the newest message
            (`tracking.follow`); (0, ...) where the message says it.
        ahead_s: How far a track is flown on in a step: the step's duration, or 0 to hold.

    Returns:
        (5, B, N, N) float32: d east, d north, v east, v north, |d|^2, infinite where there is no track;
        (B, N, N) bool where there is one; (B, N, N) int64 its age in steps.
    """
    kept, episodes, aircraft = estimates.shape[0], estimates.shape[1], estimates.shape[2]
    is_filtered = filtered.shape[0] > 0
    made = np.zeros((5, episodes, aircraft, aircraft), np.float32)
    is_track = np.zeros((episodes, aircraft, aircraft), np.bool_)
    age = np.zeros((episodes, aircraft, aircraft), np.int64)
    for b in range(episodes):
        for i in range(aircraft):
            for j in range(aircraft):
                lag = steps[b] - heard[b, i, j]
                if i == j or lag >= kept or not (is_flying[b, i] and is_flying[b, j]):
                    made[4, b, i, j] = np.inf
                    continue
                if is_filtered:
                    x = filtered[b, i, j]
                    east, north, rate_east, rate_north = x[0, 0], x[1, 0], x[0, 1], x[1, 1]
                else:
                    told = estimates[place - lag if place >= lag else place - lag + kept, b, j]
                    east, north = float(told[0]), float(told[1])
                    rate_east, rate_north = float(told[2]), float(told[3])
                t = lag * ahead_s
                east = east + t * rate_east - own[b, i, 0]
                north = north + t * rate_north - own[b, i, 1]
                made[0, b, i, j], made[1, b, i, j] = east, north
                made[2, b, i, j], made[3, b, i, j] = rate_east - own[b, i, 2], rate_north - own[b, i, 3]
                made[4, b, i, j] = east * east + north * north
                is_track[b, i, j], age[b, i, j] = True, lag
    return made, is_track, age
