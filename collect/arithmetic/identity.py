"""The name of an arithmetic: what the last bits of a flight depend on, for manifests and stores of flights."""

import platform

import torch

PORTABLE = "portable-1"
"""Of the kernels: the same bits on every processor. The number rises when their bits change on purpose."""


def of_torch() -> str:
    """Return that of torch here: its version, the vector extension, the kind of machine."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} {capability} {platform.machine()}"
