"""Outages of GNSS: an aircraft without it navigates by dead reckoning, and its error grows.

With GNSS an outage begins in a step of dt with probability rate dt, and ends in one with dt / mean duration. The
velocity is then known as well as when GNSS was lost, and worse by a random walk; the position is what that velocity
adds up to. After t, along each axis, with drift q in m/s per root of a second:

    var(e_v) = sigma_v^2 + q^2 t,    var(e_p) = sigma_p^2 + sigma_v^2 t^2 + q^2 t^3 / 3

(velocity random walk: Groves, "Principles of GNSS, Inertial, and Multisensor Integrated Navigation Systems", 2013,
chapter 5). When GNSS is back, the error is at once what it would be without the outage.

Notation: B episodes, N aircraft.
"""

from math import sqrt

import numpy as np

from ..arithmetic.links import dead_reckon
from .arrays import Arrays
from .config import Surveillance


class Outages(Arrays):
    """Who of a batch of episodes is without GNSS, and how far astray.

    Args:
        surveillance: How often and how long.
        step_s: Duration of a step.
        shape: (B, N).

    Attributes:
        is_lost: (B, N) bool, who is without GNSS.
        errors: (B, N, 4) of everyone's estimate of itself: position in m and velocity in m/s, east and north.
    """

    PREFIX = "outages"
    NAMES = ("is_lost", "errors")

    def __init__(self, surveillance: Surveillance, step_s: float, shape: tuple[int, int]) -> None:
        self._loss = surveillance.outages_per_h / 3600.0 * step_s
        self._recovery = step_s / surveillance.outage_s
        self._step_s, self._growth_mps = float(step_s), surveillance.drift_mps * sqrt(step_s)
        self.is_lost = np.zeros(shape, bool)
        self.errors = np.zeros((*shape, 4))

    def restart(self, slots: np.ndarray, errors: np.ndarray) -> None:
        """Begin other episodes in some slots (S,), all with GNSS and with these errors (S, N, 4)."""
        self.is_lost[slots], self.errors[slots] = False, errors

    def advance(
        self, keys: np.ndarray, steps: np.ndarray, is_there: np.ndarray, with_gnss: np.ndarray
    ) -> np.ndarray:
        """Go on by a step and return the errors (B, N, 4).

        Args:
            keys: (B, 2) int64, of each episode's random numbers.
            steps: (B,) int64, of which step.
            is_there: (B, N) bool, who flew before this step too: nobody else can be without GNSS.
            with_gnss: (B, N, 4) the errors with GNSS.
        """
        dead_reckon(
            keys,
            steps,
            is_there,
            self.is_lost,
            self.errors,
            with_gnss,
            self._loss,
            self._recovery,
            self._step_s,
            self._growth_mps,
        )
        return self.errors
