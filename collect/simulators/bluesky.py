"""BlueSky as the simulator: its aircraft, autopilot and integration; layouts, outcomes and records are the world's.

All B episodes of a batch fly in one BlueSky, far enough from each other, each around its own point of the
equator, where a degree is as long in both directions, so that latitude and longitude are the plane of the
world to a millimetre. They fly at sea level without wind, where airspeed is ground speed. Once per decision
step each aircraft's autopilot gets a heading and a speed; BlueSky takes steps of `simdt_s` in between.

Notation: B episodes, N aircraft, M of them present in BlueSky.
"""

import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.state import Traffic, wrap_angle
from ..airspace.fleet import fastest_mps, limits_of, types_of
from ..airspace.geodesy import EARTH_RADIUS_M
from ..airspace.units import NAUTICAL_MILE_M
from ..airspace.world_config import WorldConfig
from .bluesky_process import quietly, start_bluesky
from .simulator import Resolution, Wind

AIRCRAFT_TYPE = "M600"
_METRES_PER_DEGREE = np.pi * EARTH_RADIUS_M / 180.0
_LEAST_SPACING_DEG = 0.1  # 11 km
_MOST_DEG = 170.0

_turns = itertools.count(1)
_turn = 0  # whose turn it is: BlueSky flies for one simulator at a time


class BlueSkySimulator:
    """Flies one world's batch in this process's BlueSky.

    Args:
        config: The world; its limits have to be those of BlueSky's M600, or of its fleet within BlueSky's own.
        simdt_s: BlueSky's own time step.

    Raises:
        ConfigurationError: BlueSky is not installed, or cannot fly such a world.
    """

    def __init__(self, config: WorldConfig, simdt_s: float = 0.05) -> None:
        steps = config.step_s / simdt_s if simdt_s > 0 else 0.0
        if not 1 <= steps <= 10_000 or abs(steps - round(steps)) > 1e-6:
            raise ConfigurationError(
                f"simulator 'bluesky': expected the decision step of {config.step_s:g} s to be a whole number of "
                f"steps of simdt_s, got {simdt_s:g}. Example: bluesky:simdt_s=0.05"
            )
        self.config, self._simdt_s, self._steps = config, simdt_s, round(steps)
        self._resolution: Resolution | None = None
        self._flown: tuple[np.ndarray, np.ndarray] | None = None
        self._bluesky = start_bluesky()

    def lay_out(self, traffic: Traffic) -> None:
        """Start with (B, N) traffic.

        Raises:
            ConfigurationError: There is wind.
        """
        global _turn
        if traffic.wind_east_mps is not None:
            raise ConfigurationError("simulator 'bluesky' flies without wind here. Use the embedded simulator.")
        self._turn = _turn = next(_turns)
        bluesky = self._bluesky
        with quietly():
            bluesky.sim.reset()
            bluesky.core.simtime.setdt(self._simdt_s)
            bluesky.traf.asastimer.setdt(self.config.step_s)
            self._switch_resolution()
        bluesky.traf.asastimer.counter = 1  # so that BlueSky resolves at the beginning of a decision step
        count = traffic.east_m.shape[0]
        self._origin_deg = self._origins(traffic, count)  # (B,)
        self._slot, self._number = (np.zeros(0, np.int64) for _ in range(2))  # (M,) of BlueSky's aircraft
        self._callsigns = itertools.count()
        self._create(torch.arange(count), traffic)
        self._is_checked = False

    def _origins(self, traffic: Traffic, count: int) -> np.ndarray:
        """Return the longitude of each episode's centre, (B,) degrees, far from the others'."""
        reach_m = torch.stack((traffic.east_m, traffic.waypoint_east_m)).abs().max().item() if count else 0.0
        reach_m += self.config.outside_m + fastest_mps(self.config) * self.config.lookahead_s
        spacing = max(_LEAST_SPACING_DEG, 3.0 * reach_m / _METRES_PER_DEGREE)
        if spacing * count > 2 * _MOST_DEG:
            raise ConfigurationError(
                f"simulator 'bluesky': {count} episodes of {reach_m / 1000:.0f} km do not fit side by side around "
                "the earth. Fly fewer at once (--batch, --episodes-per-shard)."
            )
        return spacing * (np.arange(count) - count // 2)

    def _create(self, slots: Tensor, traffic: Traffic) -> None:
        """Create the flying aircraft of (S, N) traffic that belong to the episodes `slots` (S,)."""
        row, number = (index.cpu().numpy() for index in traffic.is_flying.nonzero(as_tuple=True))
        if not len(row):
            return
        slot = slots.cpu().numpy()[row]

        def of(tensor: Tensor) -> np.ndarray:
            return tensor.detach().cpu().double().numpy()[row, number]

        names = [f"A{next(self._callsigns)}" for _ in row]
        self._bluesky.traf.cre(
            names,
            self._types_of(traffic, row, number),
            of(traffic.north_m) / _METRES_PER_DEGREE,
            self._origin_deg[slot] + of(traffic.east_m) / _METRES_PER_DEGREE,
            np.degrees(of(traffic.track_rad)) % 360.0,
            0.0,
            of(traffic.speed_mps),
        )
        self._slot, self._number = np.append(self._slot, slot), np.append(self._number, number)

    def _types_of(self, traffic: Traffic, row: np.ndarray, number: np.ndarray) -> list[str]:
        """Return the types, as BlueSky calls them, of aircraft `number` in episode `row`, (M,) each."""
        if traffic.kind is None:
            return [AIRCRAFT_TYPE] * len(row)
        names = [each.blue_sky for each in types_of(self.config)]
        return [names[kind] for kind in traffic.kind.cpu().numpy()[row, number]]

    def enter(self, traffic: Traffic, who: Tensor) -> None:
        """Create the aircraft that have just entered, (B, N) bool."""
        self._check_turn()
        with quietly():
            self._create(torch.arange(len(who)), replace(traffic, is_flying=who))

    def _remove(self, is_gone: np.ndarray) -> None:
        """Delete some of BlueSky's aircraft, (M,) bool."""
        if is_gone.any():
            self._bluesky.traf.delete(np.flatnonzero(is_gone))
            self._slot, self._number = self._slot[~is_gone], self._number[~is_gone]

    def advance(self, before: Traffic, action: Tensor, wind: Wind | None = None) -> Traffic:
        """Fly one decision step; ended aircraft are deleted from BlueSky first."""
        self._check_turn()
        self._remove(~before.is_flying.cpu().numpy()[self._slot, self._number])
        after, self._flown = before.clone(), None
        if not len(self._slot):
            return after
        traf, everyone = self._bluesky.traf, np.arange(len(self._slot))
        heading, speed = self._targets(before, action)
        with quietly():
            traf.ap.selhdgcmd(everyone, heading)
            traf.ap.selspdcmd(everyone, speed)
            for _ in range(self._steps):
                self._bluesky.sim.step()
        if not self._is_checked:  # BlueSky reads its limits in the first step
            self._check_limits(before)
            self._is_checked = True
        if self._resolution is not None:
            self._flown = self._resolved(before)
        origin = self._origin_deg[self._slot]
        for tensor, values in (
            (after.east_m, (traf.lon - origin) * _METRES_PER_DEGREE),
            (after.north_m, traf.lat * _METRES_PER_DEGREE),
            (after.track_rad, np.radians(traf.trk)),
            (after.speed_mps, traf.gs),
        ):
            tensor[self._slot, self._number] = torch.from_numpy(np.asarray(values)).to(tensor)
        after.track_rad = wrap_angle(after.track_rad)
        return after

    def _targets(self, before: Traffic, action: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the heading (deg) and the speed (m/s) that the autopilots get, (M,) each."""
        config, action = self.config, action.double().clamp(-1.0, 1.0)
        track = before.track_rad.double() + action[..., 0] * config.turn_rad
        speed = before.speed_mps.double() + action[..., 1] * config.speed_change_mps
        limits = limits_of(config, before)
        speed = torch.clamp(speed, limits.min_speed_mps, limits.max_speed_mps)  # type: ignore[arg-type]
        heading, speeds = (each.cpu().numpy()[self._slot, self._number] for each in (track, speed))
        return np.degrees(heading) % 360.0, speeds

    def _resolved(self, before: Traffic) -> tuple[np.ndarray, np.ndarray]:
        """Return who was flown by BlueSky's own resolution (M,), and with which action (M, 2)."""
        config, cr = self.config, self._bluesky.traf.cr
        track, speed = (
            tensor.cpu().double().numpy()[self._slot, self._number]
            for tensor in (before.track_rad, before.speed_mps)
        )
        turn = (np.radians(np.asarray(cr.trk)) - track + np.pi) % (2 * np.pi) - np.pi
        change = np.asarray(cr.tas) - speed
        action = np.stack((turn / config.turn_rad, change / config.speed_change_mps), axis=-1)
        return np.asarray(cr.active, bool), np.clip(action, -1.0, 1.0)

    def flown(self, action: Tensor) -> Tensor:
        """Return what was flown in the last step: BlueSky's own resolution overrides the requested action."""
        if self._flown is None:
            return action
        is_resolved, resolved = self._flown
        flown = action.clone()
        place = self._slot[is_resolved], self._number[is_resolved]
        flown[place] = torch.from_numpy(resolved[is_resolved]).to(action)
        return flown

    def keep(self, slots: Tensor) -> None:
        """Forget all episodes but those in `slots`."""
        self._check_turn()
        kept = slots.cpu().numpy()
        renumbered = np.full(len(self._origin_deg), -1)
        renumbered[kept] = np.arange(len(kept))
        self._remove(renumbered[self._slot] < 0)
        self._slot, self._origin_deg = renumbered[self._slot], self._origin_deg[kept]
        self._flown = None

    def restart(self, slots: Tensor, traffic: Traffic) -> None:
        """Restart the episodes in `slots`."""
        self._check_turn()
        self._remove(np.isin(self._slot, slots.cpu().numpy()))
        self._create(slots, traffic)
        self._flown = None

    def resolve_with(self, resolution: Resolution | None) -> None:
        """Switch BlueSky's own conflict detection and resolution on, or off (None)."""
        self._check_turn()
        if resolution != self._resolution:
            self._resolution = resolution
            with quietly():
                self._switch_resolution()

    def _switch_resolution(self) -> None:
        """Set BlueSky's detection, resolution and protected zone."""
        traf, wanted = self._bluesky.traf, self._resolution
        traf.cd.setmethod("STATEBASED" if wanted else "OFF")
        traf.cr.setmethod(wanted.method if wanted else "OFF")
        if wanted:
            traf.cd.setrpz(self.config.protected_zone_m / NAUTICAL_MILE_M)
            traf.cd.setdtlook(wanted.lookahead_s)
            traf.cr.setresofach(wanted.margin)

    def _check_turn(self) -> None:
        """Raise unless BlueSky still flies for this simulator."""
        if self._turn != _turn:
            raise ConfigurationError(
                "another world has taken over the BlueSky of this process, which can fly one at a time. "
                "Fly them one after the other, or in two processes."
            )

    def _check_limits(self, before: Traffic) -> None:
        """Raise unless the world's limits are those of the aircraft that BlueSky flies; of a fleet, within them."""
        traf, config = self._bluesky.traf, self.config
        if before.kind is not None:
            self._check_fleet(before.kind.cpu().numpy()[self._slot, self._number])
            return
        for name, ours, theirs in (
            ("max_speed_mps", config.max_speed_mps, traf.perf.vmax[0]),
            ("acceleration_mps2", config.acceleration_mps2, traf.perf.axmax[0]),
            ("bank_rad", config.bank_rad, traf.ap.bankdef[0]),
        ):
            if abs(ours - theirs) > 1e-6 * theirs:
                raise ConfigurationError(
                    f"simulator 'bluesky' flies its {AIRCRAFT_TYPE}: expected {name} {theirs:g}, got {ours:g}. "
                    "Use the embedded simulator for other aircraft."
                )

    def _check_fleet(self, kinds: np.ndarray) -> None:
        """Raise unless each type (M,) keeps within the speeds, and has the acceleration and bank, of BlueSky's."""
        traf, types = self._bluesky.traf, types_of(self.config)
        for place, kind in enumerate(kinds):
            own, fastest = types[kind], traf.perf.vmax[place]
            theirs = (traf.perf.axmax[place], traf.ap.bankdef[place])
            if own.max_speed_mps <= fastest and np.allclose((own.acceleration_mps2, own.bank_rad), theirs):
                continue
            raise ConfigurationError(
                f"simulator 'bluesky' flies its {own.blue_sky} for a type of the fleet: expected at most "
                f"{fastest:g} m/s, {theirs[0]:g} m/s2 and {np.degrees(theirs[1]):g} degrees of bank, got "
                f"{own.max_speed_mps:g}, {own.acceleration_mps2:g} and {np.degrees(own.bank_rad):g}. Use the "
                "embedded simulator for other aircraft."
            )
