"""Runtime assurance where aircraft come and go: `assurance.Assured`, whose aircraft are known by their callsigns.

Notation: N aircraft of a simulator, M of them flown.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.assurance import REASONS, AssuranceConfig, Assured
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic


class Monitor:
    """`Assured` around a deployed policy: one batch of one episode, of all N aircraft in the simulator's order.

    Those that the policy does not fly are aircraft that nobody flies.

    Args:
        config: The policy's world. Its times count decisions of `step_s`.
        assurance: The monitor's numbers.

    Attributes:
        callsigns: Of all aircraft at the last decision.
        is_flown: (N,) bool, who of them was flown, by the policy or by the fallback.
    """

    def __init__(self, config: WorldConfig, assurance: AssuranceConfig) -> None:
        self._assured = Assured(lambda traffic, pairs: self._judged, config, assurance)
        self._judged: tuple[Tensor, Tensor | None]
        self.callsigns: tuple[str, ...] = ()
        self.is_flown = np.zeros(0, bool)
        nothing = torch.zeros(1, 0)
        self._assured.begin(Traffic(nothing, nothing, nothing, nothing, nothing, nothing, nothing.bool()))

    def rest(self) -> None:
        """Forget all aircraft, but not what was counted: nobody is flown at present."""
        self._meet((), np.zeros(0, int))

    def fly(
        self,
        callsigns: Sequence[str],
        rows: np.ndarray,
        own: Traffic,
        pairs: Pairs,
        action: Tensor,
        is_outside: Tensor | None,
    ) -> Tensor:
        """Return the actions that are flown, (M, 2).

        Args:
            callsigns: Of all aircraft.
            rows: (M,) which of them are flown.
            own: (M,), with waypoints that stay where they are while an aircraft is on its way.
            pairs: (M, N).
            action: (M, 2) of the policy.
            is_outside: (M,) bool, whose observation lies outside the policy's envelope; None where none is known.
        """
        self._meet(tuple(callsigns), rows)
        places, total = torch.from_numpy(rows), len(self.callsigns)

        def all_of(values: Tensor) -> Tensor:
            found = values.new_zeros((1, total, *values.shape[1:]))
            found[0, places] = values
            return found

        self._judged = all_of(action), None if is_outside is None else all_of(is_outside)
        around = pairs.map(all_of)  # (1, N, N)
        is_there = around.is_pair
        around = around._replace(distance2_m2=around.distance2_m2.masked_fill(~is_there, torch.inf))
        return self._assured(own.map(all_of), around)[0, places]

    @property
    def counts(self) -> np.ndarray:
        """Decisions of the fallback for each of `REASONS`, then hand-overs for each, (6,)."""
        return self._assured.counts[0].numpy()

    @property
    def reasons(self) -> dict[str, str]:
        """Why the fallback flies an aircraft, one of `REASONS`, by callsign; all others are in it not at all."""
        reason = self._assured.reason[0].tolist()
        return {name: REASONS[why - 1] for name, why in zip(self.callsigns, reason, strict=True) if why}

    def lines(self) -> list[str]:
        """Say who is flown by whom, why, and how often the fallback was needed, in two lines."""
        reason = self._assured.reason[0].numpy()
        handed = {why: reason == number for number, why in enumerate(REASONS, 1)}
        who = {
            "the fallback": ", ".join(
                f"{named(self.callsigns, is_it)} ({why})" for why, is_it in handed.items() if is_it.any()
            ),
            "the policy": named(self.callsigns, self.is_flown & (reason == 0)),
            "their autopilots": named(self.callsigns, ~self.is_flown),
        }
        now = "; ".join(f"by {pilot} {names}" for pilot, names in who.items() if names) or "nobody"
        counts, step_s = self.counts, self._assured.config.step_s
        often = ", ".join(
            f"{reason} {count:.0f}" for reason, count in zip(REASONS, counts[len(REASONS) :], strict=True)
        )
        seconds = counts[: len(REASONS)].sum() * step_s
        flown = f"{seconds:,.0f} s flown by the fallback"
        return [f"Flown at present: {now}.", f"Handed over so far: {often}; {flown}."]

    def _meet(self, callsigns: tuple[str, ...], rows: np.ndarray) -> None:
        """Take the aircraft that there are now; what is known of those that were there before is kept."""
        if callsigns != self.callsigns:
            before = {name: place for place, name in enumerate(self.callsigns)}
            self._assured.rearrange(torch.tensor([before.get(name, -1) for name in callsigns], dtype=torch.int64))
            self.callsigns = callsigns
        self.is_flown = np.zeros(len(callsigns), bool)
        self.is_flown[rows] = True


def named(callsigns: Sequence[str], is_marked: np.ndarray) -> str:
    """Return the first few callsigns of the marked aircraft, (N,) bool."""
    found = [callsigns[place] for place in np.flatnonzero(is_marked).tolist()]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
