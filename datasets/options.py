"""Options of commands, made of the fields of a config: name, type, default, bounds and help stand there alone.

@click.command()
@options_of(CloningConfig, "epochs", "lr")
def train(ctx, **options):
    config = chosen(ctx, CloningConfig())

Beside them, a command that shows its options in groups, and examples that can be typed.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from .config import Config, bounds_of, fields_of
from .errors import ConfigurationError
from .spec import comma_list

C = TypeVar("C", bound=Config)
Function = TypeVar("Function", bound=Callable[..., Any])
WORKERS = click.IntRange(1, 1024)
"""How many processes may be asked for: more than any machine of ours has processors."""
_TYPES = {int: click.INT, float: click.FLOAT, str: click.STRING, bool: click.BOOL}


class _Place(click.Path):
    """A file or a folder; no name at all, as of a shell's variable that is not set, is not the folder one is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return its path."""
        if value == "":
            self.fail("expected the name of a file or folder, got none. Is a variable empty?", param, ctx)
        return super().convert(value, param, ctx)


PLACE = _Place(path_type=Path)
"""Where a command writes, or what it reads."""


class CommaList(click.ParamType):
    """Items with commas between them, such as `20,40`.

    Args:
        kind: Of an item, `int`, `float` or `str`.
        what: What they are, for messages.
        example: How a list looks.
        least: No item may be less.
    """

    def __init__(self, kind: type, what: str, example: str, least: float | None = None) -> None:
        self.kind, self.what, self.example, self.least = kind, what, example, least
        self.name = "N[,N...]" if kind is int else "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Read them."""
        if isinstance(value, tuple):
            return value
        try:
            items = comma_list(str(value), self.kind, self.what, self.example)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)
        if self.least is not None:
            each = click.IntRange(int(self.least)) if self.kind is int else click.FloatRange(self.least)
            for item in items:
                each.convert(item, param, ctx)
        return items


def options_of(
    kind: type[Config],
    *names: str,
    bounded: bool = False,
    label: str = "",
    changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Callable[[Function], Function]:
    """Give a command the options that set a config.

    Args:
        kind: The config.
        names: The fields that are options, in the order of the help.
        bounded: Whether a value below its bound, or none of its choices, is wrong use (exit code 2); else that is
            found when the config is made (exit code 1).
        label: Stands before the help of each.
        changes: By field, what `click.option` is given instead.
    """

    def decorate(function: Function) -> Function:
        for name in reversed(names):
            settings = {**_settings(fields_of(kind)[name], bounded, label), **changes.get(name, {})}
            if settings["default"] is None:
                del settings["default"]
            function = click.option(f"--{name.replace('_', '-')}", **settings)(function)
        return function

    return decorate


def default_from(kind: type[Config], name: str, otherwise: str) -> dict[str, dict[str, Any]]:
    """Return what differs in an option that may be left out for another reason than its default.

    Args:
        kind: The config.
        name: The field.
        otherwise: What else the value may be, for the help: `a file's`.
    """
    field = fields_of(kind)[name]
    text = f"{field.description}  [default: {field.default}, or {otherwise}]"
    return {name: {"default": None, "show_default": False, "help": text}}


def given(ctx: click.Context) -> dict[str, Any]:
    """Return the options that stand on the command line."""
    source = ctx.get_parameter_source
    return {key: value for key, value in ctx.params.items() if source(key) is not ParameterSource.DEFAULT}


def chosen(ctx: click.Context, start: C, part: str = "") -> C:
    """Return a config with what stands on the command line.

    So `--resume` takes what is not given from the run: `start` is then the config of the run.

    Args:
        ctx: Of the command.
        start: What holds where nothing is given.
        part: The field of a config inside it that takes what is given first.
    """
    options = given(ctx)
    if part:
        inner = getattr(start, part)
        taken = {key: value for key, value in options.items() if key in fields_of(type(inner))}
        options = {**options, **taken, part: replace(inner, **taken)}
        options = {key: value for key, value in options.items() if key not in taken}
    return replace(start, **{key: value for key, value in options.items() if key in fields_of(type(start))})


def _settings(field: FieldInfo, bounded: bool, label: str) -> dict[str, Any]:
    """Return how `click.option` is called for a field."""
    default, text = field.default, f"{label}{field.description}"
    if field.annotation is bool:
        return {"is_flag": True, "default": None, "help": text}
    if get_origin(field.annotation) is tuple:
        default = ",".join(map(str, default))
    return {
        "type": _type(field, bounded),
        "default": default,
        "show_default": default not in (None, ""),
        "help": text,
    }


def _type(field: FieldInfo, bounded: bool) -> Any:
    """Return the type of a field's option."""
    kinds = [each for each in get_args(field.annotation) if each is not NoneType]
    origin = get_origin(field.annotation)
    if origin is Literal:
        return click.Choice(kinds) if bounded else click.STRING
    if origin is tuple:
        item = get_args(kinds[0])[0] if get_origin(kinds[0]) is Annotated else kinds[0]
        return CommaList(item, "numbers", "20 or 20,40,60")
    kind: Any = kinds[0] if kinds else field.annotation
    if not bounded or kind not in (int, float):
        return _TYPES.get(kind, click.STRING)
    low = bounds_of(field)
    ranges: Any = click.IntRange if kind is int else click.FloatRange
    return ranges(low.get("ge", low.get("gt")), min_open="gt" in low) if {"ge", "gt"} & set(low) else _TYPES[kind]


class HelpfulCommand(click.Command):
    """A click command that shows its options in groups, and examples below them.

    Args:
        arguments: Of `click.Command`.
        examples: Lines that can be typed, each beginning with `skyclone`.
        groups: Titles, and the options below each without their hyphens: `{"Traffic": "aircraft scenario"}`. An
            option of no group stands in the last one.
        options: Of `click.Command`.
    """

    def __init__(
        self,
        *arguments: Any,
        examples: Sequence[str] = (),
        groups: Mapping[str, str] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.examples, self.groups = tuple(examples), groups

    def grouped(self, ctx: click.Context) -> dict[str, list[click.Parameter]]:
        """Return the options below the title of each group, in the order in which they were added."""
        title_of = {name: title for title, names in self.groups.items() for name in names.split()}
        last = "Other options" if self.groups else "Options"
        found: dict[str, list[click.Parameter]] = {title: [] for title in (*self.groups, last)}
        for option in self.get_params(ctx):
            if not isinstance(option, click.Argument):  # click 8.5 has a line for each, without any words
                found[title_of.get(option.opts[0].lstrip("-"), last)].append(option)
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        for title, options in self.grouped(ctx).items():
            records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what else there is to say, and the examples as they are typed."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def arguments_of(example: str) -> list[str]:
    """Return the arguments of `skyclone` in an example, without what a shell would take: `> my.toml`."""
    words = shlex.split(example, comments=True)
    return words[1 : words.index(">") if ">" in words else None]
