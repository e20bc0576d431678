import pytest
import torch

from skyclone.datasets.errors import ConfigurationError
from skyclone.train.runs.device import choose_device, torch_threads


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigurationError, match=r"no device 'abacus'. There are: cpu.* Use --device auto."):
        choose_device("abacus")


@pytest.mark.parametrize(
    "name", ["meta", "mkldnn", "vulkan", "xla", "", "cuda:99999999999", "x" * 10_000, "cpu\0", "\udcff", "-1"]
)
def test_only_what_computes_is_a_device(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no device .* There are: cpu") as caught:
        choose_device(name)
    assert len(str(caught.value)) < 200


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(2):
        assert torch.get_num_threads() == 2
    with torch_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
