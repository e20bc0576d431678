"""The replay of a report: a few scenarios, every contender, what was decided in each step, and why.

Its form: `docs/evaluation-json.md`. It is kept in the archive and in the page, where `assets/flight.js` reads it.

Notation: N aircraft, M rows (an ownship in a step), H heads, k of the intruders kept, g of those whose places as
perceived are kept.
"""

import base64
from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch

from ...collect import teachers
from ...collect.airspace.fleet import fastest_mps, types_of
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.assurance import REASONS
from ...collect.flying.mixed import draw_all
from ...collect.scenarios.registry import lay_out
from ...collect.scenarios.start import Start, start_of
from ..evaluation.contenders import Loaded
from ..evaluation.shares import Share
from .camera import GONE, Camera, Frame
from .playable import Network, Rule, network_of, rule_of

VERSION = 1
"""Of the replay's form."""
MOST_BYTES = 6 * 2**20
"""Of all flights and weights, before base64 makes them a third longer: of more, only every n-th step is kept."""
NO_TRACK = -128
"""The offset of an aircraft that an ownship has no track of; offsets are int8."""


class Attention(NamedTuple):
    """Whom ownships look at.

    Attributes:
        heads: H.
        kept: k.
        intruders: base64 of uint16 (M, k), heaviest first, `NO_INTRUDER` where there were fewer.
        weights: base64 of uint8 (M, H, k), 255 is a weight of 1.
    """

    heads: int
    kept: int
    intruders: str
    weights: str


class Ghosts(NamedTuple):
    """Where ownships take the aircraft around them to be.

    Attributes:
        kept: g.
        intruders: base64 of uint16 (M, g), the nearest first, `NO_INTRUDER` where there are fewer.
        offsets: base64 of int8 (M, g, 2), east and north in `Replay.offset_m`, from where each is, as seen from the
            ownship, to where the ownship takes it to be; `NO_TRACK` for one that it does not know of.
    """

    kept: int
    intruders: str
    offsets: str


class Flight(NamedTuple):
    """One contender in one scenario, T steps; rows are the flying aircraft of each step, step by step.

    Those that hover are among them. The last step is the last one in which somebody flies.

    Attributes:
        steps: T.
        positions: base64 of int16 (T, N, 2), east and north in units, `GONE` for who does not fly.
        decisions: base64 of `DECISION` (M,).
        attention: None for a contender without.
        conflicts: Pairs i < j per step, coded (step * N + i) * N + j.
        legs: Who flies to the next waypoint of its route from a step on, coded step * N + i.
        ghosts: None where everyone knows everything.
        fallback: base64 of uint8 (M,), why a fallback flies each: 0 where it does not, else the place in
            `Replay.reasons` counted from 1; None for a contender without a monitor.
    """

    steps: int
    positions: str
    decisions: str
    attention: Attention | None
    conflicts: list[int]
    legs: list[int] = []  # noqa: RUF012 (nobody changes it)
    ghosts: Ghosts | None = None
    fallback: str | None = None


class Filmed(NamedTuple):
    """A contender.

    Attributes:
        name: Its name.
        flights: One per scenario.
        network: What the page decides with when aircraft are moved; None for one that has none, or none it can run.
        rule: The same for a teacher.
    """

    name: str
    flights: list[Flight]
    network: Network | None = None
    rule: Rule | None = None


class Scenario(NamedTuple):
    """How a scenario is laid out; places are east and north.

    Attributes:
        number: The scenario's.
        corners_m: Of its sector.
        waypoints_m: Of each aircraft, the first; of one that hovers, where it does.
        routes_m: Of each aircraft the waypoints after the first; empty where nobody has any.
        hovers: Numbers of the aircraft that hover.
        no_fly_m: Corners of each polygon that nobody should enter.
        zone_scales: The protected zone of each aircraft in units of `Replay.zone_m`; empty where all have the same.
        limits_mps: Cruise, lowest and highest airspeed of each aircraft; only one row where all have the same.
        winds_mps: The wind towards east and north in each step; empty where there is none.
        flown_by: Of each aircraft of a mix who flies it: `self` a contender; empty where contenders fly all.
    """

    number: int
    corners_m: list[list[float]]
    waypoints_m: list[list[float]]
    routes_m: list[list[list[float]]] = []  # noqa: RUF012 (nobody changes it)
    hovers: list[int] = []  # noqa: RUF012
    no_fly_m: list[list[list[float]]] = []  # noqa: RUF012
    zone_scales: list[float] = []  # noqa: RUF012
    limits_mps: list[list[float]] = []  # noqa: RUF012
    winds_mps: list[list[float]] = []  # noqa: RUF012
    flown_by: list[str] = []  # noqa: RUF012


class Replay(NamedTuple):
    """Some scenarios as flown by each contender.

    Attributes:
        version: Of its form.
        zone_m: R.
        step_s: Time between two of its steps.
        unit_m: Of positions.
        speed_mps: What 255 stands for in a speed, the highest that is flown.
        least_speed_mps: The lowest that is flown.
        turn_rad: What 127 stands for in a turn.
        change_mps: What 127 stands for in a speed change.
        aircraft: N.
        mvp: The teacher that was asked what it would have done.
        scenarios: The scenarios.
        contenders: The contenders.
        lookahead_s: The world's.
        mvp_rule: How that teacher decides.
        offset_m: What 1 stands for in the offset of a ghost.
        reasons: Why a fallback may fly an aircraft.
    """

    version: int
    zone_m: float
    step_s: float
    unit_m: float
    speed_mps: float
    least_speed_mps: float
    turn_rad: float
    change_mps: float
    aircraft: int
    mvp: str
    scenarios: list[Scenario]
    contenders: list[Filmed]
    lookahead_s: float = 0.0
    mvp_rule: Rule | None = None
    offset_m: float = 1.0
    reasons: list[str] = []  # noqa: RUF012 (nobody changes it)


def record(
    loaded: Sequence[Loaded],
    config: WorldConfig,
    seed: int,
    episodes: Sequence[int],
    device: str | torch.device = "cpu",
    most_bytes: int = MOST_BYTES,
    shares: Sequence[Share] = (),
) -> Replay:
    """Let every contender fly some scenarios again, and ask what the first MVP among them would have done.

    Args:
        loaded: The contenders.
        config: The world.
        seed: Of the scenarios.
        episodes: Their numbers.
        device: Where networks run.
        most_bytes: Of all flights and weights.
        shares: Of the mix in which they fly; none where they fly all.
    """
    start = start_of(config, seed, episodes)
    reach = max(float(part.abs().max()) for part in (start.corners_m, start.traffic.east_m, start.traffic.north_m))
    unit = 2.0 * (reach + 2 * config.outside_m) / -GONE  # the page shows half of what int16 can hold
    names = (each.contender.name for each in loaded)
    teacher = next((name for name in names if name.partition(":")[0] == "mvp"), "mvp")
    asked = teachers.parse(teacher, config)
    speed_mps = fastest_mps(config) + _strongest_wind_mps(start)
    flown_by = _flown_by(shares, start, seed, episodes)
    camera = Camera(config, unit, speed_mps, asked, flown_by)
    films = [camera.film(each, seed, episodes, device) for each in loaded]
    networks = [network_of(each.policy) for each in loaded]
    room = max(most_bytes // 2, most_bytes - sum(network.nbytes for network in networks if network))
    every = max(1, ceil(sum(film.nbytes for film in films) / room))
    offset_m = max(1.0, max(film.farthest_off_m for film in films) / -(NO_TRACK + 1))
    scenarios = [
        _scenario(config, seed, episode, start, row, every)._replace(flown_by=flown_by[row])
        for row, episode in enumerate(episodes)
    ]
    flights = [[_coded(frames[::every], config.aircraft, offset_m) for frames in film.frames] for film in films]
    return Replay(
        VERSION,
        config.protected_zone_m,
        config.step_s * every,
        unit,
        speed_mps,
        config.min_speed_mps,
        config.turn_rad,
        config.speed_change_mps,
        config.aircraft,
        teacher,
        scenarios,
        [
            Filmed(film.name, coded, network, rule_of(getattr(each.pilot, "teacher", None)))
            for each, film, coded, network in zip(loaded, films, flights, networks, strict=True)
        ],
        config.lookahead_s,
        rule_of(asked),
        offset_m,
        list(REASONS),
    )


def _strongest_wind_mps(start: Start) -> float:
    return 0.0 if start.winds_mps is None else float(start.winds_mps.norm(dim=-1).max())


def _flown_by(shares: Sequence[Share], start: Start, seed: int, episodes: Sequence[int]) -> list[list[str]]:
    """Return who flies each aircraft of each scenario, "" for one whom nobody flies; empty lists without a mix."""
    if not shares:
        return [[] for _ in episodes]
    is_flown, hovers = start.entry_steps >= 0, start.traffic.is_hovering
    is_flown = is_flown if hovers is None else is_flown & ~hovers
    groups = draw_all([each.share for each in shares], is_flown.cpu().numpy(), seed, episodes)
    names = [*(each.name for each in shares), ""]  # `NOBODY` is the last
    return [[names[group] for group in row] for row in groups.tolist()]


def _scenario(config: WorldConfig, seed: int, episode: int, start: Start, row: int, every: int) -> Scenario:
    """Return how a scenario is laid out, which is a row of the start."""
    layout, traffic = lay_out(config, seed, episode), start.traffic
    routes, hovers = layout.routes_m or (), layout.hovers
    limits = [[each.cruise_mps, each.min_speed_mps, each.max_speed_mps] for each in types_of(config)]
    return Scenario(
        episode,
        layout.corners_m.round(1).tolist(),
        layout.waypoint_m.round(1).tolist(),
        [np.round(route, 1).tolist() for route in routes],
        [] if hovers is None else np.flatnonzero(hovers).tolist(),
        [np.round(polygon, 1).tolist() for polygon in layout.no_fly_m],
        [] if traffic.zone_scale is None else traffic.zone_scale[row].double().numpy().round(4).tolist(),
        limits if traffic.kind is None else [limits[kind] for kind in traffic.kind[row].tolist()],
        [] if start.winds_mps is None else start.winds_mps[row, ::every].double().numpy().round(3).tolist(),
    )


def _coded(frames: Sequence[Frame], aircraft: int, offset_m: float) -> Flight:
    """Return a flight as text."""
    heads, kept = frames[0].weights.shape[1:]
    intruders, weights = (_base64(getattr(frame, name) for frame in frames) for name in ("intruders", "weights"))
    pairs = aircraft * aircraft
    return Flight(
        len(frames),
        _base64(frame.positions for frame in frames),
        _base64(frame.decisions for frame in frames),
        Attention(heads, kept, intruders, weights) if heads else None,
        [step * pairs + pair for step, frame in enumerate(frames) for pair in frame.conflicts],
        _leg_codes(frames),
        _ghosts(frames, offset_m),
        _base64(frame.fallback for frame in frames) if frames[0].fallback.shape[1] else None,
    )


def _ghosts(frames: Sequence[Frame], offset_m: float) -> Ghosts | None:
    """Return where the ownships of a flight take others to be; None where everyone knows everything."""
    kept = frames[0].near.shape[1]
    if not kept:
        return None
    offsets = (np.nan_to_num((frame.offsets_m / offset_m).round(), nan=NO_TRACK) for frame in frames)
    return Ghosts(kept, _base64(frame.near for frame in frames), _base64(each.astype("i1") for each in offsets))


def _leg_codes(frames: Sequence[Frame]) -> list[int]:
    """Return who flies to the next waypoint from which step on, coded step * N + i."""
    legs = np.stack([frame.legs for frame in frames])
    grown = np.diff(legs, axis=0, prepend=np.zeros_like(legs[:1]))
    places = np.flatnonzero(grown)
    return np.repeat(places, grown.ravel()[places]).tolist()


def _base64(arrays: Iterable[np.ndarray]) -> str:
    """Return the bytes of arrays, one after the other."""
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()
