"""Typed configs: frozen dataclasses that check themselves, with one JSON and one wording of what is wrong.

    @config
    class CloningConfig(Config):
        epochs: int = Field(default=20, ge=1, description="Passes over the training rows.")

A field says its type, default, bounds and meaning once; the command line takes them from here. Types are strict:
text is no number, True no whole number; a whole number may stand for a number. Without bounds of their own, whole
numbers stay within 64 bits and numbers within `LARGEST`; NaN and infinity are no numbers.
"""

import functools
import inspect
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, dataclass_transform, get_args, get_origin

import annotated_types
import pydantic.dataclasses
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from .errors import ConfigurationError, SkycloneError

LARGEST = 1e12
"""No number of ours is larger: its square still is finite in float32."""
LARGEST_WHOLE = 2**63 - 1
LONGEST = annotated_types.MaxLen(10_000)
"""Of text; also makes sure that it can be written as UTF-8."""
Count = Annotated[int, Field(ge=1, le=2**20)]
"""How many there are of something that all has to fit into memory."""

_BOUNDS = ("ge", "gt", "le", "lt")
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
_NAMES = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 60


@dataclass(frozen=True)
class Config:
    """What all configs can do.

    Attributes:
        error: What is raised where a value cannot be.
        title: What it is, for messages.
        added: Fields that came later: they are left out of the JSON where they have their default.
    """

    error: ClassVar[type[SkycloneError]] = ConfigurationError
    title: ClassVar[str] = "configuration of a run"
    added: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        data = asdict(self)
        for key in self.added:
            if data[key] == fields_of(type(self))[key].default:
                del data[key]
        return data

    @classmethod
    def from_json(cls: "type[C]", data: Any) -> "C":
        """Read what `to_json` made.

        Raises:
            SkycloneError: A key is missing or unknown, or a value cannot be; of the class `error`.
        """
        if not isinstance(data, Mapping):
            raise cls.error(f"{cls.title}: expected a JSON object, got {shown(data)}.")
        known = fields_of(cls)
        _check_keys(cls, set(known) - {*data, *cls.added}, set(data) - set(known))
        return cls(**{key: _from_json(known[key].annotation, value) for key, value in data.items()})


C = TypeVar("C", bound=Config)
Class = TypeVar("Class", bound=type[Config])


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def config(cls: Class) -> Class:
    """Make a class a config: a frozen dataclass whose values are checked whenever one is made."""
    for name, annotation in inspect.get_annotations(cls).items():
        _limit(cls, name, annotation)
    made = pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)(cls)
    check = made.__init__

    @functools.wraps(check)
    def __init__(self: Config, *args: Any, **kwargs: Any) -> None:
        try:
            check(self, *args, **kwargs)
        except ValidationError as error:
            raise _translated(cls, error) from None

    setattr(made, "__init__", __init__)  # noqa: B010 (mypy forbids the assignment)
    return made  # type: ignore[return-value]


def fields_of(kind: type) -> dict[str, FieldInfo]:
    """Return the fields of a config by name, with type (`annotation`), default, bounds and `description`."""
    fields: dict[str, FieldInfo] = vars(kind)["__pydantic_fields__"]
    return fields


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """Return the bounds of a field by `ge`, `gt`, `le`, `lt`, without those that all have."""
    found = {key: getattr(bound, key) for bound in field.metadata for key in _BOUNDS if hasattr(bound, key)}
    general = (LARGEST, -LARGEST, LARGEST_WHOLE, -(2**63))
    return {key: value for key, value in found.items() if value not in general}


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, by the same rules as a config's."""
    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def type_in_words(kind: Any) -> str:
    """Return what a type takes: `a number`, `one of sum, mean, max`."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return "a list, each " + type_in_words(get_args(kind)[0])
    if get_origin(kind) is Annotated:
        return type_in_words(get_args(kind)[0])
    given = [each for each in get_args(kind) if each is not NoneType]
    return type_in_words(given[0]) if given else _NAMES.get(kind, f"a {getattr(kind, '__name__', kind)}")


def shown(value: Any) -> str:
    """Return a value for a message: short, whatever it is."""
    try:
        return _shorten.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks a value on its own."""
    limit: dict[Any, Any] = {
        int: Annotated[int, Field(ge=-(2**63), le=LARGEST_WHOLE)],
        float: Annotated[float, Field(ge=-LARGEST, le=LARGEST)],
        str: Annotated[str, LONGEST],
    }
    return TypeAdapter(limit.get(kind, kind), config=_STRICT)


def _limit(cls: type, name: str, annotation: Any) -> None:
    """Give a field of numbers or text the bounds that all have."""
    kinds = {annotation, *get_args(annotation)[: 1 if get_origin(annotation) is Annotated else None]}
    if get_origin(annotation) in (ClassVar, tuple) or not kinds & {int, float, str}:
        return
    given = cls.__dict__.get(name, ...)
    field: FieldInfo = given if isinstance(given, FieldInfo) else Field(given)
    setattr(cls, name, field)
    if str in kinds:
        field.metadata.append(LONGEST)
    if str in kinds or get_origin(annotation) is Annotated:
        return  # what is annotated brings its bounds
    least, most = (-LARGEST, LARGEST) if float in kinds else (-(2**63), LARGEST_WHOLE)
    bounds = {type(each) for each in field.metadata}
    if not bounds & {annotated_types.Ge, annotated_types.Gt}:
        field.metadata.append(annotated_types.Ge(least))
    if not bounds & {annotated_types.Le, annotated_types.Lt}:
        field.metadata.append(annotated_types.Le(most))


def _from_json(kind: Any, value: Any) -> Any:
    """Return a value as the constructor takes it: configs inside a config, lists as tuples."""
    if value is not None and NoneType in get_args(kind):
        kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, Config):
        return kind.from_json(value)
    return tuple(value) if get_origin(kind) is tuple and isinstance(value, list) else value


def _check_keys(cls: type[Config], missing: set[str], unknown: set[str]) -> None:
    """Raise if there are such keys."""
    if missing or unknown:
        raise cls.error(
            f"{cls.title}: missing keys {sorted(missing) or 'none'}, unknown keys {sorted(unknown) or 'none'}. "
            f"There are: {', '.join(fields_of(cls))}. Was it written by another version of skyclone?"
        )


def _translated(cls: type[Config], error: ValidationError) -> SkycloneError:
    """Return pydantic's first complaint in our words."""
    first = error.errors(include_url=False)[0]
    place, value = first["loc"][0], first["input"]
    name = list(fields_of(cls))[place] if isinstance(place, int) and place < len(fields_of(cls)) else str(place)
    if first["type"].startswith("unexpected"):
        return cls.error(f"{cls.title}: no parameter '{name}'. There are: {', '.join(fields_of(cls))}.")
    if first["type"].startswith("missing"):
        return cls.error(f"{cls.title}: expected {name}, which is missing.")
    field = fields_of(cls)[name]
    extra = field.json_schema_extra
    hint = f" {extra['hint']}" if isinstance(extra, dict) and "hint" in extra else ""
    if first["type"] == "literal_error":
        return cls.error(
            f"unknown {name} {shown(value)}. There are: {', '.join(get_args(field.annotation))}.{hint}"
        )
    what = name
    if first["type"].endswith("_type") or first["type"].startswith("string"):
        what = f"{name} to be {type_in_words(field.annotation)}"
    if first["type"] == "string_too_long":
        what += f" of at most {LONGEST.max_length} characters"
    return cls.error(f"expected {what}{_bounds_in_words(field, first)}, got {shown(value)}.{hint}")


def _bounds_in_words(field: FieldInfo, broken: Mapping[str, Any]) -> str:
    """Return the bounds of a field, such as ` of 1 or more`; those that all have only where they are broken."""
    context = {key: value for key, value in broken.get("ctx", {}).items() if key in _BOUNDS}
    words = {
        key: f"{value:g}" if isinstance(value, float) else f"{value:,}"
        for key, value in {**bounds_of(field), **context}.items()
    }
    low = f" above {words['gt']}" if "gt" in words else ""
    high = f" up to {words['le']}" if "le" in words else f" below {words['lt']}" if "lt" in words else ""
    if "ge" in words and "le" in words:
        return f" from {words['ge']} to {words['le']}"
    if "ge" in words:
        low = f" of {words['ge']} or more"
    return f"{low} and{high}" if low and high else low + high
