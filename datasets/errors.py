"""Errors meant for the people who use skyclone: expected, got, why, what to do next."""

from enum import StrEnum


class SkycloneError(Exception):
    """Say what was expected, what was found and what to do next; the CLI prints it without a traceback."""


class RecordError(SkycloneError):
    """A table of traffic rows does not follow the traffic record."""


class DatasetError(SkycloneError):
    """A folder is no dataset, or one that is incomplete, damaged or made otherwise than expected."""


class Damage(StrEnum):
    """What can be wrong with a file of a dataset."""

    MISSING = "missing"
    CUT = "cut"
    ALTERED = "altered"
    SWAPPED = "swapped"
    UNREADABLE = "unreadable"
    FOREIGN = "foreign"
    UNLISTED = "unlisted"
    INVALID = "invalid"


class ShardError(DatasetError):
    """A shard is not what the manifest says.

    Attributes:
        damage: What kind of damage it is.
        message: Expected, got.
    """

    def __init__(self, damage: Damage, message: str) -> None:
        super().__init__(damage, message)  # so that it can be pickled
        self.damage, self.message = damage, message

    def __str__(self) -> str:
        return f"{self.damage}: {self.message}"


class StorageError(SkycloneError):
    """A remote folder cannot be reached, read or written; nothing is known of what lies in it."""


class ObservationError(SkycloneError):
    """An observation view is unknown, or does not fit what it is used with."""


class ConfigurationError(SkycloneError):
    """A parameter of the world, a scenario, a teacher, a network or a run is wrong."""


class FlightError(SkycloneError):
    """A pilot asked for an action that is not a number."""


class CheckpointError(SkycloneError):
    """A checkpoint is missing, damaged, or made for something else."""
