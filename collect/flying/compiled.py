"""Flying without torch: batches that the kernels fly, where a teacher they know is the pilot.

Notation: E episodes, N aircraft at the start.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from ..airspace.world_config import WorldConfig
from ..arithmetic import compiling
from ..arithmetic.identity import PORTABLE, of_torch
from ..kernels.detection import FEW
from ..kernels.flight import Flown, begun, fly
from ..kernels.traffic import Starts, physics_of, types_as_rows
from ..scenarios.registry import NOISE_STREAM, stream_of
from ..scenarios.start import Start, start_of
from ..teachers.rules import STRAIGHT, Rules
from .encounters import Encounters, Seen, encounters_of

RECORDED_REWARD = "seed"
"""The reward that the kernels write into rows; what they fly does not depend on it."""
_CHUNK = 4096  # aircraft in a batch at the most, but one episode at the least: their rows are in memory twice
_ROOM_PER_FLIGHT = 1.25  # rows an aircraft takes, as a part of the straight way to its waypoint
_CALL_S = 0.1  # that one call should take: in between Python listens to Ctrl-C
_FIRST_WORK, _LEAST_WORK = 2000, 100  # steps of an aircraft: as fast as 10 million a second, as slow as a thousand


def is_known(config: WorldConfig, teacher: object, is_recording: bool = True) -> bool:
    """Return whether the kernels can fly a teacher in a world, and write its rows if they are wanted."""
    is_written = config.reward == RECORDED_REWARD or not is_recording
    return config.is_compiled and is_written and _has_rules(teacher)


def _has_rules(teacher: object) -> bool:
    """Return whether a teacher says its rules where it says its velocity: a subclass may have overridden that."""
    classes = type(teacher).__mro__
    owners = [next((each for each in classes if name in vars(each)), None) for name in ("rules", "velocity")]
    return owners[0] is not None and owners[0] is owners[1]


def rules_of(config: WorldConfig, teacher: object, is_recording: bool = True) -> Rules | None:
    """Return a teacher as numbers if the kernels fly it in a world here; None if torch does.

    Args:
        config: The world.
        teacher: Who flies.
        is_recording: Whether rows are wanted: the kernels know one reward.
    """
    if not is_known(config, teacher, is_recording) or reason():
        return None
    rules: Rules = teacher.rules()  # type: ignore[attr-defined]
    return Rules(rules.kind, *map(float, rules[1:]))  # whole numbers are another type: all would be compiled again


def arithmetic_of(config: WorldConfig, teacher: object, is_recording: bool = True) -> str:
    """Return by which arithmetic a teacher flies in a world here; anyone else flies by `of_torch()`."""
    return of_torch() if rules_of(config, teacher, is_recording) is None else PORTABLE


def reason() -> str:
    """Return why the kernels cannot fly on this machine, "" where they can; compile what has not been yet."""
    if not compiling.why_not():
        _fly_one()
    return compiling.why_not()


@cache
def _fly_one() -> None:
    """Fly one aircraft for a step: that compiles all that a flight needs."""
    config = WorldConfig(aircraft=1, max_steps=1)
    fly_compiled(config, Rules(STRAIGHT, config.protected_zone_m, config.lookahead_s), 0, [0])


def prepare(report: Callable[[str], object] = lambda line: None) -> None:
    """Compile the kernels now, if they can be and have not been on this machine: workers then find them.

    Args:
        report: Is told before it takes long.
    """
    if compiling.why_not() or fly.is_kept:
        return
    how_often = "once on this machine"
    if not compiling.cache_folder():
        how_often = "in each process (no folder for them can be written: set NUMBA_CACHE_DIR to one)"
    report(f"Compiling the kernels, {how_often}: about ten seconds.")
    reason()


def why_not(config: WorldConfig, teacher: object, is_recording: bool = True) -> str:
    """Return a line for people where the kernels could fly a teacher, were there a compiler; "" otherwise."""
    if not is_known(config, teacher, is_recording) or not reason():
        return ""
    return (
        f"numba compiles nothing here ({reason()}): flying in torch, which is slower, and whose rows depend on the "
        "processor."
    )


def fly_chunks(
    config: WorldConfig,
    rules: Rules,
    seed: int,
    episodes: Sequence[int],
    noise: float = 0.0,
    is_recording: bool = True,
) -> Iterator[tuple[Sequence[int], Flown]]:
    """Fly episodes to their end, a few at a time; arguments as for `fly_compiled`.

    Yields:
        The numbers of some episodes, and what they brought.
    """
    size = max(1, _CHUNK // config.aircraft)
    for first in range(0, len(episodes), size):
        chunk = episodes[first : first + size]
        yield chunk, fly_compiled(config, rules, seed, chunk, noise, is_recording)


def fly_compiled(
    config: WorldConfig,
    rules: Rules,
    seed: int,
    episodes: Sequence[int],
    noise: float = 0.0,
    is_recording: bool = True,
    few: int = FEW,
    start: Start | None = None,
) -> Flown:
    """Fly episodes to their end.

    Args:
        config: The world.
        rules: The teacher that flies.
        seed: Seed of the run.
        episodes: Numbers of the episodes.
        noise: Standard deviation of Gaussian noise on the flown action, in action units.
        is_recording: Whether rows are wanted.
        few: Up to this many aircraft all pairs are looked at.
        start: How they begin; by default as seed and episodes say.
    """
    starts = starts_of(start or start_of(config, seed, episodes), config)
    states = starts.states
    east, north = states[:, 4] - states[:, 0], states[:, 5] - states[:, 1]
    straight_m = np.sqrt(east * east + north * north)
    steps = np.minimum(_ROOM_PER_FLIGHT * straight_m / (config.cruise_mps * config.step_s) + 8, config.max_steps)
    keys = [stream_of(seed, episode, NOISE_STREAM).generate_state(2) for episode in episodes]
    arguments = (
        physics_of(config),
        rules,
        starts,
        float(noise),
        np.array(keys, np.int64).reshape(len(keys), 2),
        few,
        is_recording,
    )
    flown, work = begun(len(episodes), config.aircraft, int(steps.sum()) + 16 if is_recording else 1), _FIRST_WORK
    while flown.episode < len(episodes):
        began = time.perf_counter()
        flown = fly(*arguments, flown, work)
        took_s = max(time.perf_counter() - began, 1e-6)
        work = max(int(work * min(_CALL_S / took_s, 4.0)), _LEAST_WORK)
    return flown


def starts_of(start: Start, config: WorldConfig) -> Starts:
    """Return how a batch begins, for the kernels."""
    traffic = start.traffic
    state = (
        traffic.east_m,
        traffic.north_m,
        traffic.track_rad,
        traffic.speed_mps,
        traffic.waypoint_east_m,
        traffic.waypoint_north_m,
    )
    entry_steps = start.entry_steps.numpy().copy()  # who waits moves them on
    hovers = np.zeros(entry_steps.shape, np.int64)
    if traffic.is_hovering is not None:
        hovers[:] = traffic.is_hovering.numpy()
    winds = np.zeros((len(hovers), 0, 2)) if start.winds_mps is None else start.winds_mps.numpy().astype(np.float64)
    return Starts(
        states=np.stack([tensor.numpy() for tensor in state], axis=1).astype(np.float64),
        entry_steps=entry_steps,
        last_entry=entry_steps.max(axis=1, initial=0),
        waits=start.waits.numpy().astype(np.int64),
        hovers=hovers,
        hovering=hovers.sum(axis=1),
        routes=start.routes_m.numpy().astype(np.float64),
        legs=start.legs.numpy(),
        corners=start.corners_m.numpy().astype(np.float64),
        no_fly=start.no_fly_m.numpy().astype(np.float64),
        kinds=np.zeros(hovers.shape, np.int64) if traffic.kind is None else traffic.kind.numpy(),
        types=types_as_rows(config),
        winds=winds,
        blown=winds.any(axis=(1, 2)) * winds.shape[1],
    )


def encountered(flown: Flown, config: WorldConfig) -> Encounters:
    """Count conflicts and losses of separation of a batch that was flown."""
    seen = flown.seen[: flown.seen_count]
    episode, step, own, intruder = (seen[n].astype(np.int64) for n in ("episode", "step", "own", "intruder"))
    pairs = Seen(episode, step, own, intruder, seen["distance2_m2"], seen["zone_scale"])
    return encounters_of(pairs, config, len(flown.figures))


if __name__ == "__main__":  # `make install`
    prepare(print)
