"""By which arithmetic rows were made, and what becomes of a dataset that is gone on with under another one."""

from enum import StrEnum

UNKNOWN = "unknown"
"""Of datasets from before 2026-11-26: it depended on the processor, and was not written down."""


class OtherArithmetic(StrEnum):
    """What to do where shards were made by another arithmetic than this machine's."""

    REFUSE = "refuse"
    REMAKE = "remake"
    KEEP = "keep"


def in_words(arithmetic: str) -> str:
    """Return an arithmetic as people read it."""
    if arithmetic == UNKNOWN:
        return "the older arithmetic, which depended on the processor"
    return f"'{arithmetic}'"


CHOICE = (
    "--other-arithmetic remake makes all shards again here (with --shards, only those), --other-arithmetic keep "
    "keeps those there are and marks in the manifest which were made by which"
)
"""What one can do about it."""


def refusal(made_by: str, here: str, shards: list[str]) -> str:
    """Return why shards are not made, and what to do: the message without the folder.

    Args:
        made_by: Arithmetic of what there is.
        here: This machine's.
        shards: Names of those that were to be made.
    """
    names = shards[0] + (f" and {len(shards) - 1} more" if len(shards) > 1 else "")
    were = "were" if len(shards) > 1 else "was"
    return (
        f"its rows were made by {in_words(made_by)}, and this machine would make {names} by {in_words(here)}: "
        f"other rows. {names} {were} not made. {CHOICE}; or call the command on a machine like the first one."
    )
