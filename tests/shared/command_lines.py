"""The command line, parsed and listed: shared by the tests of what is shown of it."""

import click

from skyclone.cli import skyclone


def parse(given: list[str]) -> None:
    """Parse arguments as the command line does, without running anything."""
    group, context = skyclone, click.Context(skyclone, info_name="skyclone")
    while given:
        name, command, given = group.resolve_command(context, given)
        assert name is not None
        assert command is not None
        if not isinstance(command, click.Group):
            command.make_context(name, given, parent=context)
            return
        group, context = command, click.Context(command, parent=context, info_name=name)


def command_paths(group: click.Group, path: tuple[str, ...] = ()) -> list[str]:
    """Return `collect`, `datasets`, `datasets info`, ..."""
    context, found = click.Context(group), []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found.append(" ".join((*path, name)))
        if isinstance(command, click.Group):
            found += command_paths(command, (*path, name))
    return found
