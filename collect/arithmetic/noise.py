"""Gaussian noise on actions as a function of (episode's key, step, aircraft), drawn in no order.

Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011), then Box and Muller's transform. Numbers are masked to 32 bits by
hand, so that they are the same in compiled code and in Python.
"""

from math import sqrt

import numpy as np

from .compiling import entry, inner
from .elementary import TWO_PI, logarithm, sine_cosine

_MASK = 0xFFFFFFFF


@inner
def philox(first: int, second: int, third: int, fourth: int, key: int, key_2: int) -> tuple[int, int, int, int]:
    """Return four random 32-bit numbers of a counter and a key."""
    for _ in range(10):
        low, high = first * 0xD2511F53, third * 0xCD9E8D57
        first, second, third, fourth = (
            ((high >> 32) & _MASK) ^ second ^ key,
            high & _MASK,
            ((low >> 32) & _MASK) ^ fourth ^ key_2,
            low & _MASK,
        )
        key, key_2 = (key + 0x9E3779B9) & _MASK, (key_2 + 0xBB67AE85) & _MASK
    return first, second, third, fourth


@inner
def normal_pair(key: int, key_2: int, step: int, aircraft: int) -> tuple[float, float]:
    """Return two independent standard normal numbers."""
    return normals_of(philox(step, aircraft, 0, 0, key, key_2))


@inner
def normals_of(words: tuple[int, int, int, int]) -> tuple[float, float]:
    """Return two independent standard normal numbers of four random 32-bit numbers."""
    radius = sqrt(-2.0 * logarithm(_unit(words[0], words[1])))
    sine, cosine = sine_cosine(TWO_PI * _unit(words[2], words[3]))
    return radius * cosine, radius * sine


@entry
def gusts(keys: np.ndarray, count: int, kept: float) -> np.ndarray:
    """Return Gauss-Markov processes of standard deviation 1: (B, count, 2), of keys (B, 2).

    Args:
        keys: The key of each.
        count: How many steps.
        kept: Their correlation from one step to the next.
    """
    made = np.empty((len(keys), count, 2))
    fresh = sqrt(1.0 - kept * kept)
    for b in range(len(keys)):
        east, north = normal_pair(keys[b, 0], keys[b, 1], 0, 0)
        for step in range(count):
            if step > 0:
                first, second = normal_pair(keys[b, 0], keys[b, 1], step, 0)
                east, north = kept * east + fresh * first, kept * north + fresh * second
            made[b, step, 0], made[b, step, 1] = east, north
    return made


@inner
def _unit(high: int, low: int) -> float:
    """Return a number in (0, 1] from 53 of 64 random bits."""
    return ((high >> 5) * 67108864.0 + ((low >> 6) + 1.0)) * 1.1102230246251565e-16
