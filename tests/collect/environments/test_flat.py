import numpy as np
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.environments.flat import flat_space, flatten_arrays
from skyclone.datasets.traffic.observation import Observation, flatten
from skyclone.datasets.traffic.view import View


def test_an_observation_is_ownship_intruders_and_mask_in_a_row():
    parts = Observation(
        torch.arange(7.0)[None], torch.arange(10.0, 20.0).reshape(1, 2, 5), torch.tensor([[True, False]])
    )
    expected = [*range(7), *range(10, 20), 1, 0]
    assert flatten(parts)[0].tolist() == expected
    arrays = {name: part.numpy() for name, part in parts._asdict().items()}
    assert flatten_arrays(arrays).tolist() == [expected]
    assert flatten_arrays({name: part[0] for name, part in arrays.items()}).tolist() == expected
    assert flatten_arrays(arrays).dtype == np.float32


def test_the_space_of_one():
    assert flat_space(WorldConfig(aircraft=3), View("seed")).shape == (7 + 2 * 5 + 2,)
    assert flat_space(WorldConfig(aircraft=1), View("seed")).shape == (7,)
