"""Arrays of a batch of episodes that are cut, joined, saved and restored together.

Notation: B episodes.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor


class Arrays:
    """Something whose state are some arrays (B, ...).

    Attributes:
        PREFIX: Of their names in files.
        NAMES: Of the attributes that hold them.
    """

    PREFIX: ClassVar[str]
    NAMES: ClassVar[tuple[str, ...]]

    def kept(self, slots: np.ndarray) -> Self:
        """Return some of the episodes, by their slots; one that is there twice goes on twice."""
        made = copy(self)
        for name in self.NAMES:
            setattr(made, name, getattr(self, name)[slots])
        return made

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the episodes of several as one."""
        made = copy(parts[0])
        for name in cls.NAMES:
            setattr(made, name, np.concatenate([getattr(part, name) for part in parts]))
        return made

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be saved; `restore` takes it back."""
        return {f"{self.PREFIX}_{name}": torch.from_numpy(getattr(self, name).copy()) for name in self.NAMES}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` returned, for the same episodes."""
        for name in self.NAMES:
            setattr(self, name, tensors[f"{self.PREFIX}_{name}"].cpu().numpy().copy())
