"""Tapes: the uniform random numbers behind an episode, kept so that they can be moved a little.

A scenario is a function of the numbers that its generator hands out. A tape is such a generator that remembers:
the layout is then a function of numbers uniform in [0, 1), and a small move of them moves aircraft, waypoints and
sector a little, whatever the scenario (primary sample space; Kelemen, Szirmay-Kalos, Antal, Csonka, Computer
Graphics Forum 21(3), 2002). Arrays are kept by their stream, shape and place among those of that shape: one more
try for a waypoint does not shift the numbers of the positions. Numbers that no flight has asked for yet are drawn
when one does; the flights so far do not depend on them, so they may be drawn anew at any time.
"""

from math import exp, log

import numpy as np

Key = tuple[object, tuple[int, ...], int]
_LEAST_STEP, _LARGEST_STEP = 1e-3, 0.2
_LEAST_SHARE = 0.1


class Tape:
    """The random numbers of an episode.

    Args:
        generator: Draws those that are asked for and are not there yet.
        numbers: Those that are there, by stream, shape and place.
    """

    def __init__(self, generator: np.random.Generator, numbers: dict[Key, np.ndarray] | None = None) -> None:
        self._generator = generator
        self.numbers = {} if numbers is None else numbers

    def read(self, key: Key) -> np.ndarray:
        """Return an array of the key's shape, uniform in [0, 1)."""
        if key not in self.numbers:
            self.numbers[key] = self._generator.random(key[1])
        return self.numbers[key]

    def moved(self, generator: np.random.Generator) -> "Tape":
        """Return a tape near this one.

        A random share of the numbers moves by normal steps of a random size, 0.001 to 0.2, round the circle [0,
        1): the way back is as likely, and numbers stay uniform. Small steps are accepted near an event, large ones
        leave it for another; no size suits all levels, so all are tried.
        """
        step = exp(generator.uniform(log(_LEAST_STEP), log(_LARGEST_STEP)))
        share = exp(generator.uniform(log(_LEAST_SHARE), 0.0))
        moved = {}
        for key, numbers in self.numbers.items():
            steps = step * generator.standard_normal(numbers.shape) * (generator.random(numbers.shape) < share)
            moved[key] = (numbers + steps) % 1.0 % 1.0  # -1e-20 % 1.0 is 1.0
        return Tape(self._generator, moved)

    def stream(self, stream: int) -> np.random.Generator:
        """Return what hands out the numbers of a stream, from the first on; it has what scenarios call."""
        return _Reader(self, stream)  # type: ignore[return-value]


class _Reader:
    """Hands out the numbers of a stream as a `numpy.random.Generator` would."""

    def __init__(self, tape: Tape, stream: int) -> None:
        self._tape, self._stream = tape, stream
        self._places: dict[tuple[int, ...], int] = {}

    def random(self, size: int | tuple[int, ...] | None = None) -> np.ndarray | float:
        """Return numbers uniform in [0, 1)."""
        shape = () if size is None else (size,) if isinstance(size, int) else tuple(size)
        place = self._places.get(shape, 0)
        self._places[shape] = place + 1
        numbers = self._tape.read((self._stream, shape, place))
        return float(numbers) if size is None else numbers.copy()

    def integers(self, low: int, high: int) -> int:
        """Return a whole number from `low` to below `high`."""
        return low + int((high - low) * float(self.random()))
