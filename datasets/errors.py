"""Errors meant for the people who use skyclone: expected, got, why, what to do next."""


class SkycloneError(Exception):
    """Say what was expected, what was found and what to do next; the CLI prints it without a traceback."""


class RecordError(SkycloneError):
    """A table of traffic rows does not follow the traffic record."""


class DatasetError(SkycloneError):
    """A folder is no dataset, or one that is incomplete, damaged or made otherwise than expected."""


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
