"""Specs: the text `NAME:key=value:key=value` by which teachers, scenarios and simulators are named."""

from .errors import ConfigurationError


def parse_parameters(text: str, what: str) -> tuple[str, dict[str, float]]:
    """Split `name:key=value:key=value` into the name and its numbers.

    Raises:
        ConfigurationError: A parameter is not of the form key=number.
    """
    name, *parts = text.split(":")
    parameters: dict[str, float] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        try:
            if not equals:
                raise ValueError
            parameters[key] = float(value)
        except ValueError:
            raise ConfigurationError(
                f"{what} '{text}': expected NAME:key=number:key=number, got '{part}'. Example: mvp:margin=1.15"
            ) from None
    return name, parameters
