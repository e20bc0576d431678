"""The name of an arithmetic: what a flight's rows depend on besides its config and seed."""

import platform

import torch

PORTABLE = "portable-1"
"""Of the kernels: the same bits on every processor. The number rises when their bits change on purpose."""


def of_torch() -> str:
    """Return that of torch here: its version, the vector extension, the kind of machine."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} {capability} {platform.machine()}"
