"""When the slots of a `VectorEnv` start again, in Gymnasium's three autoreset modes.

Notation: B slots, each of which flies one episode after the other.
"""

from typing import Any, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode

from ...datasets.errors import ConfigurationError
from .episodes import Arrays, Flown

Steps = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Batch(Protocol):
    """What flies B episodes at once: `EpisodeBatch`, `OwnshipBatch`."""

    def reset(self, seed: int | None, fallback_seed: int) -> None:
        """Start every slot: at its first episode if there is a seed, else at its next one."""

    def restart(self, is_chosen: np.ndarray) -> None:
        """Start the next episode in the chosen (B,) slots."""

    def step(self, actions: Any) -> Flown:
        """Fly one step."""

    def look(self) -> tuple[Any, Arrays]:
        """Observe the present state: arrays (B, ...), or a dict of them, and infos (B, ...)."""


def mode_named(mode: AutoresetMode | str) -> AutoresetMode:
    """Return one of Gymnasium's autoreset modes by its name (`SAME_STEP`) or its value (`SameStep`).

    Raises:
        ConfigurationError: There is no such mode.
    """
    for known in AutoresetMode:
        if mode in (known, known.name, known.value):
            return known
    names = ", ".join(known.name for known in AutoresetMode)
    raise ConfigurationError(f"unknown autoreset_mode {mode!r}. There are: {names}.")


class Slots:
    """Steps and resets of a batch as a `VectorEnv` has them.

    Args:
        batch: What flies.
        count: B.
        mode: When slots start again.
    """

    def __init__(self, batch: Batch, count: int, mode: AutoresetMode) -> None:
        self._batch, self._count, self._mode = batch, count, mode
        self._has_ended = np.zeros(count, bool)

    def reset(
        self, seed: int | None, fallback_seed: int, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes, in all slots or in those of `options["reset_mask"]`.

        Raises:
            ConfigurationError: The mask is no (B,) bool array, or a seed is given with it.
        """
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self._batch.reset(seed, fallback_seed)
            mask = np.ones(self._count, bool)
        else:
            self._check_mask(mask, seed)
            self._batch.restart(mask)
        self._has_ended &= ~mask
        observation, infos = self._batch.look()
        return observation, _masked(infos, mask)

    def _check_mask(self, mask: Any, seed: int | None) -> None:
        """Raise unless the mask names slots to reset."""
        is_mask = isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (self._count,)
        if not is_mask or seed is not None:
            raise ConfigurationError(
                f"expected options['reset_mask'] to be a bool array of shape ({self._count},) and no seed beside "
                f"it (all slots share one), got seed={seed} and {mask!r}"
            )

    def step(self, actions: np.ndarray) -> Steps:
        """Fly one step, and start again those slots whose time it is.

        Raises:
            ConfigurationError: Actions of another shape or not finite; a slot that has ended was not reset
                (with `DISABLED` only).
        """
        if self._mode is AutoresetMode.DISABLED and self._has_ended.any():
            raise ConfigurationError(
                f"expected a reset of slots {np.flatnonzero(self._has_ended).tolist()}, whose episodes are over, "
                "got step(). Call reset(options={'reset_mask': mask})."
            )
        flown, infos = self._batch.step(actions), {}
        is_over = flown.terminated | flown.truncated
        if self._mode is AutoresetMode.NEXT_STEP and self._has_ended.any():
            self._batch.restart(self._has_ended)
        elif self._mode is AutoresetMode.SAME_STEP and is_over.any():
            infos = self._final(is_over)
            self._batch.restart(is_over)
        observation, present = self._batch.look()
        infos |= _masked(present, np.ones(self._count, bool))
        same_step = self._mode is AutoresetMode.SAME_STEP
        self._has_ended = np.zeros_like(is_over) if same_step else is_over
        return observation, flown.reward, flown.terminated, flown.truncated, infos

    def _final(self, is_over: np.ndarray) -> dict[str, Any]:
        """Return the last observation and infos of the episodes that are over, in Gymnasium's layout."""
        observation, present = self._batch.look()
        final = np.full(self._count, None, dtype=object)
        for slot in np.flatnonzero(is_over):
            if isinstance(observation, dict):
                final[slot] = {name: values[slot] for name, values in observation.items()}
            else:
                final[slot] = observation[slot]
        infos = {"final_obs": final, "final_info": _masked(present, is_over)}
        return infos | {"_final_obs": is_over.copy(), "_final_info": is_over.copy()}


def _masked(infos: Arrays, mask: np.ndarray) -> dict[str, Any]:
    """Add to each array `_name`, which slots have it, and zero the others."""
    result: dict[str, Any] = {}
    for name, values in infos.items():
        chosen = mask.reshape(-1, *([1] * (values.ndim - 1)))
        result[name], result[f"_{name}"] = values * chosen, mask.copy()
    return result
