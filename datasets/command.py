"""A command whose help is in groups and ends with examples that can be typed; its tests run them."""

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click


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
