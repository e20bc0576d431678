"""Specs: the text `NAME:key=value:key=value` by which teachers, scenarios, simulators, views, networks are named.

What a name takes is what its maker takes: the parameters of a function or class, or the fields of a config, without
the first few that we give ourselves. They are `float`, `int`, `bool`, `str` or a `Literal`; one without a type is a
number.
"""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, NamedTuple, get_args

from .config import fields_of, fits, shown, type_in_words
from .errors import ConfigurationError, SkycloneError

Maker = Callable[..., Any]
Value = int | float | bool | str


class Parameter(NamedTuple):
    """What a maker takes.

    Attributes:
        kind: Its type.
        default: What it is where it is not given.
    """

    kind: Any
    default: Any


def parse(
    text: str,
    what: str,
    makers: Mapping[str, Maker],
    *,
    skip: int = 0,
    error: type[SkycloneError] = ConfigurationError,
) -> tuple[str, dict[str, Any]]:
    """Read `NAME:key=value:key=value`.

    Args:
        text: The spec.
        what: Of what, for messages: `teacher`.
        makers: What is made, by name.
        skip: How many parameters we give ourselves; they come first.
        error: What is raised.

    Returns:
        The name, and the parameters that its maker takes, of the right types.

    Raises:
        SkycloneError: There is no such name or parameter, or a value is of another type.
    """
    name, colon, rest = text.partition(":")
    maker = find(name, what, makers, error)
    if not colon:
        return name, {}
    return name, parameters(rest, f"{what} '{name}'", maker, skip=skip, error=error, prefix=f"{name}:")


def parameters(
    text: str,
    what: str,
    maker: Maker,
    *,
    skip: int = 0,
    error: type[SkycloneError] = ConfigurationError,
    prefix: str = "",
) -> dict[str, Any]:
    """Read `key=value:key=value`; arguments as `parse`, and what comes before it, for messages."""
    known = parameters_of(maker, skip)
    found: dict[str, Any] = {}
    for part in text.split(":"):
        key, equals, value = part.partition("=")
        if key in found:
            raise error(f"{what}: expected {key} once, got it again in '{part}'. Leave one of them out.")
        if equals and key in known:
            found[key] = _read(value, known[key].kind)
        elif equals:
            found[key] = value
        else:
            raise error(
                f"{what}: expected {'NAME:' if prefix else ''}key=value:key=value, got '{part}'. "
                f"{_example(prefix, known)}"
            )
    check(found, what, maker, skip=skip, error=error, hint=_example(prefix, known))
    return found


def check(
    given: Mapping[str, Any],
    what: str,
    maker: Maker,
    *,
    skip: int = 0,
    error: type[SkycloneError] = ConfigurationError,
    hint: str = "",
) -> None:
    """Raise unless a maker takes these parameters.

    Args:
        given: The parameters.
        what: Whose, for messages: `teacher 'mvp'`.
        maker: What takes them.
        skip: How many it takes that we give ourselves; they come first.
        error: What is raised.
        hint: What to do, for messages.

    Raises:
        SkycloneError: There is no such parameter, or a value is of another type.
    """
    known = parameters_of(maker, skip)
    for key, value in given.items():
        if key not in known:
            raise error(f"{what} has no parameter '{key}'. It has: {', '.join(known) or 'none'}.")
        if not fits(value, known[key].kind):
            words = type_in_words(known[key].kind)
            raise error(f"{what}: expected {words} for {key}, got {shown(value)}. {hint}".rstrip())


def find(name: str, what: str, makers: Mapping[str, Any], error: type[SkycloneError] = ConfigurationError) -> Any:
    """Return what makes the thing of a name.

    Raises:
        SkycloneError: There is no such name; says which there are.
    """
    if name not in makers:
        raise error(f"unknown {what} '{name}'. There are: {', '.join(makers)}.")
    return makers[name]


def parameters_of(maker: Maker, skip: int = 0) -> dict[str, Parameter]:
    """Return what a maker takes, by name, without the first `skip`."""
    if isinstance(maker, type) and "__pydantic_fields__" in vars(maker):
        found = {key: Parameter(field.annotation, field.default) for key, field in fields_of(maker).items()}
    else:
        found = {
            key: Parameter(float if each.annotation is each.empty else each.annotation, each.default)
            for key, each in inspect.signature(maker, eval_str=True).parameters.items()
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        }
    return dict(list(found.items())[skip:])


def comma_list(text: str, kind: Callable[[str], Any], what: str, example: str) -> tuple[Any, ...]:
    """Read items with commas between them; blank ones are left out.

    Args:
        text: The list.
        kind: Makes an item of its text: `int`, `float`, `str`.
        what: Of what, for messages: `learning rates`.
        example: How one looks.

    Raises:
        ConfigurationError: An item is of another kind.
    """
    try:
        return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigurationError(f"expected {what} such as {example}, got '{text}'") from None


def _read(text: str, kind: Any) -> Any:
    """Return a text as a value of that type, or as it is where it is none."""
    kinds = [each for each in get_args(kind) if each is not NoneType]
    kind = kinds[0] if kinds and isinstance(kinds[0], type) else kind
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _example(prefix: str, known: Mapping[str, Parameter]) -> str:
    """Return an example of a spec, with a default that may be written."""
    for key, each in known.items():
        if isinstance(each.default, Value) and not isinstance(each.default, bool):
            return f"Example: {prefix}{key}={each.default}"
    return ""
