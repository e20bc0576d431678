import click
import pytest
from click.testing import CliRunner

from skyclone.datasets.options import HelpfulCommand, arguments_of

HELP = """\
Usage: fly [OPTIONS] [WHERE]

  Fly.

Traffic:
  --scenario TEXT     Where.
  --aircraft INTEGER  How many.

Other options:
  --new   Of no group.
  --help  Show this message and exit.

  More.

Examples:
  skyclone fly --aircraft 3 --scenario a-scenario-whose-name-is-longer-than-a-line-of-the-help-that-stands-above
"""


@click.command(
    "fly",
    cls=HelpfulCommand,
    epilog="More.",
    groups={"Traffic": "aircraft scenario gone", "Nothing": ""},
    examples=[HELP.splitlines()[-1].strip()],
)
@click.argument("where", required=False)
@click.option("--scenario", help="Where.")
@click.option("--new", is_flag=True, help="Of no group.")
@click.option("--aircraft", type=int, help="How many.")
def fly(**options: object) -> None:
    """Fly."""


def test_options_stand_in_groups_and_examples_as_they_are_typed() -> None:
    said = CliRunner().invoke(fly, ["--help"]).output
    assert said == HELP


@pytest.mark.parametrize(
    ("example", "arguments"),
    [
        ("skyclone worlds enroute > my.toml", ["worlds", "enroute"]),
        ("skyclone smoke", ["smoke"]),
        ("skyclone report 'my report'  # again", ["report", "my report"]),
    ],
)
def test_the_arguments_of_an_example(example: str, arguments: list[str]) -> None:
    assert arguments_of(example) == arguments
