"""The noise: known answers of Philox, and the normal distribution."""

import numpy as np
import pytest

from skyclone.collect.arithmetic.compiling import entry
from skyclone.collect.arithmetic.noise import normal_pair, philox


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # Random123, kat_vectors: philox4x32 10
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers(counter: tuple, key: tuple, expected: tuple):
    assert _philox(np.array(counter), np.array(key)) == expected
    assert getattr(philox, "py_func", philox)(*counter, *key) == expected


def test_the_noise_is_normal_and_independent():
    drawn = _drawn(20_000)
    assert np.abs(drawn.mean(axis=0)).max() < 0.03
    assert np.abs(drawn.std(axis=0) - 1).max() < 0.03
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.03
    assert abs((np.abs(drawn) > 2).mean() - 0.0455) < 0.005


@entry
def _philox(counter: np.ndarray, key: np.ndarray) -> tuple[int, int, int, int]:
    a, b, c, d = int(counter[0]), int(counter[1]), int(counter[2]), int(counter[3])
    return philox(a, b, c, d, int(key[0]), int(key[1]))


@entry
def _drawn(count: int) -> np.ndarray:
    made = np.empty((count, 2))
    for index in range(count):
        made[index, 0], made[index, 1] = normal_pair(1, 2, index // 20, index % 20)
    return made
