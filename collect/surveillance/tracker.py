"""Trackers: Kalman filters by which each aircraft estimates itself and those it hears.

Of itself an aircraft has what GNSS says and, from inertial sensors, how its velocity changes; of another one its
messages, and that these mostly fly straight on. Both filters know the surveillance: how large errors are, and how
long they last (`arithmetic.tracking`). What is broadcast is what GNSS says, not the filter's estimate.

Notation: B episodes, N aircraft, H steps kept.
"""

from math import sqrt

import numpy as np

from ..arithmetic.links import NEVER
from ..arithmetic.tracking import COVARIANCES, begin_own, follow, follow_own
from .arrays import Arrays
from .config import Surveillance


class Tracker(Arrays):
    """The filters of all aircraft of a batch of episodes.

    Args:
        surveillance: Its quality.
        step_s: Duration of a step.
        correlation: Of navigation errors, from one step to the next.
        shape: (B, N).

    Attributes:
        own: (B, N, 2, 4) by how much each one's own position and velocity are wrong, east and north, and what it
            takes for the errors of GNSS.
        own_covariances: (B, N, 10).
        tracks: (B, N, N, 2, 4) position, velocity and errors of each sender at its newest message.
        covariances: (B, N, N, 10).
        stamps: (B, N, N) int64, the step of that message, or `NEVER`.
    """

    PREFIX = "tracker"
    NAMES = ("own", "own_covariances", "tracks", "covariances", "stamps")

    def __init__(
        self, surveillance: Surveillance, step_s: float, correlation: float, shape: tuple[int, int]
    ) -> None:
        self._variances = (float(surveillance.position_m) ** 2, float(surveillance.velocity_mps) ** 2)
        self._correlation, self._step_s = float(correlation), float(step_s)
        self._growth_mps = float(surveillance.drift_mps) * sqrt(step_s)
        self._change = float(surveillance.manoeuvre_mps) ** 2
        links = (*shape, shape[1])
        self.own, self.own_covariances = np.zeros((*shape, 2, 4)), np.zeros((*shape, COVARIANCES))
        self.tracks, self.covariances = np.zeros((*links, 2, 4)), np.zeros((*links, COVARIANCES))
        self.stamps = np.full(links, NEVER, np.int64)

    def restart(self, slots: np.ndarray, errors: np.ndarray) -> None:
        """Begin other episodes in some slots (S,), in which GNSS has these errors (S, N, 4)."""
        own, covariances = self.own[slots], self.own_covariances[slots]
        begin_own(own, covariances, np.ones(errors.shape[:2], bool), errors, *self._variances)
        self.own[slots], self.own_covariances[slots] = own, covariances
        self.stamps[slots] = NEVER

    def begin(self, is_new: np.ndarray, errors: np.ndarray) -> None:
        """Let some aircraft (B, N) begin anew: of themselves with errors (B, N, 4), and as others know them."""
        begin_own(self.own, self.own_covariances, is_new, errors, *self._variances)
        self.stamps[is_new] = NEVER
        self.stamps.transpose(0, 2, 1)[is_new] = NEVER

    def advance(self, keys: np.ndarray, steps: np.ndarray, has_gnss: np.ndarray, errors: np.ndarray) -> None:
        """Go on by a step in what aircraft know of themselves.

        Args:
            keys: (B, 2) int64, of each episode's random numbers.
            steps: (B,) int64, of which step.
            has_gnss: (B, N) bool.
            errors: (B, N, 4) of GNSS.
        """
        follow_own(
            self.own,
            self.own_covariances,
            keys,
            steps,
            has_gnss,
            errors,
            *self._variances,
            self._correlation,
            self._step_s,
            self._growth_mps,
        )

    def listen(self, heard: np.ndarray, steps: np.ndarray, estimates: np.ndarray, place: int) -> None:
        """Take the messages that are new.

        Args:
            heard: (B, N, N) int64, the steps of the newest ones.
            steps: (B,) int64, the present step.
            estimates: (H, B, N, 4) float32, what was sent.
            place: Which of H is the present.
        """
        follow(
            self.tracks,
            self.covariances,
            self.stamps,
            heard,
            steps,
            estimates,
            place,
            *self._variances,
            self._correlation,
            self._step_s,
            self._change,
        )

    def itself(self, state: np.ndarray) -> np.ndarray:
        """Return where each one takes itself to be, (B, N, 4) like the true state."""
        return state + np.concatenate((self.own[..., 0], self.own[..., 1]), axis=-1)
