from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field

from skyclone.datasets.config import Config, Count, config
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.options import PLACE, CommaList, chosen, default_from, given, options_of


@config
class Engine(Config):
    rpm: int = Field(default=2000, ge=1, description="How fast.")
    fuel: str = Field(default="", description="Which.")


@config
class Aeroplane(Config):
    seats: int = Field(default=2, ge=1, description="How many.")
    span_m: float = Field(default=9.5, gt=0, description="From tip to tip.")
    ceiling_m: float | None = Field(default=None, gt=0, description="How high.")
    gear: Literal["fixed", "retractable"] = Field(default="fixed", description="Of which kind.")
    legs: tuple[Count, ...] = Field(default=(), description="Where it flies.")
    is_open: bool = Field(default=False, description="Without a roof.")
    engine: Engine = Field(default_factory=Engine, description="What drives it.")


NAMES = ("seats", "span_m", "ceiling_m", "gear", "legs", "is_open")


def call(*arguments: str, start: Aeroplane | None = None, bounded: bool = False) -> tuple[Result, Any]:
    """Call a command with these options; return also the config it chose and the options it was given."""
    made: list[Any] = []

    @click.command()
    @options_of(Aeroplane, *NAMES, bounded=bounded)
    @options_of(Engine, "rpm", label="engine: ", changes=default_from(Engine, "rpm", "the engine's"))
    @click.option("--out")
    @click.pass_context
    def build(ctx: click.Context, **_: Any) -> None:
        made.extend((chosen(ctx, start or Aeroplane(), part="engine"), given(ctx)))

    return CliRunner().invoke(build, arguments), made


def test_defaults_and_help_come_from_the_config() -> None:
    _, (aeroplane, options) = call()
    assert (aeroplane, options) == (Aeroplane(), {})
    text = call("--help")[0].output
    assert "--seats INTEGER  " in text
    assert "How many.  [default: 2]" in text
    assert "--ceiling-m FLOAT" in text
    assert "How high.\n" in text, "None is no default that one could write"
    assert "How fast.  [default: 2000, or the engine's]" in text
    assert "--legs N[,N...]" in text


def test_what_is_given_changes_the_config_and_its_part() -> None:
    before = Aeroplane(seats=4, span_m=11.0, engine=Engine(1500, "diesel"))
    arguments = ("--seats", "2", "--legs", "3, 4", "--is-open", "--rpm", "90", "--out", "x")
    _, (aeroplane, options) = call(*arguments, start=before)
    assert aeroplane == Aeroplane(2, 11.0, legs=(3, 4), is_open=True, engine=Engine(90, "diesel"))
    assert set(options) == {"seats", "legs", "is_open", "rpm", "out"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seats", "0"), "expected seats of 1 or more, got 0"),
        (("--span-m", "nan"), "expected span_m above 0, got nan"),
        (("--seats", "9" * 30), "expected seats from 1 to 9,223,372,036,854,775,807, got 9999"),
        (("--gear", "none"), "unknown gear 'none'. There are: fixed, retractable."),
        (("--legs", "3,0"), "expected legs of 1 or more, got 0"),
    ],
)
def test_out_of_bounds_is_found_by_the_config_or_is_wrong_use(arguments: tuple[str, ...], message: str) -> None:
    result, _ = call(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)
    if arguments[0] in ("--seats", "--gear") and len(arguments[1]) < 5:
        assert call(*arguments, bounded=True)[0].exit_code == 2


@pytest.mark.parametrize("arguments", [("--seats", "two"), ("--legs", "1,few"), ("--seats", "9" * 5000)])
def test_other_types_are_wrong_use(arguments: tuple[str, ...]) -> None:
    assert call(*arguments)[0].exit_code == 2


def test_a_comma_list_has_a_least_item() -> None:
    kind = CommaList(int, "numbers of aircraft", "20,40", least=1)
    assert kind.convert("3, 4,", None, None) == (3, 4)
    assert kind.convert((5,), None, None) == (5,)
    with pytest.raises(click.BadParameter, match="0 is not in the range x>=1"):
        kind.convert("3,0", None, None)
    with pytest.raises(click.BadParameter, match="expected numbers of aircraft such as 20,40, got 'x'"):
        kind.convert("x", None, None)


def test_no_name_at_all_is_no_folder() -> None:
    @click.command()
    @click.option("--out", type=PLACE)
    def command(out: Path) -> None:
        click.echo(repr(out))

    result = CliRunner().invoke(command, ["--out", ""])
    assert (result.exit_code, "expected the name of a file or folder, got none" in result.stderr) == (2, True)
    assert CliRunner().invoke(command, ["--out", "."]).stdout == f"{Path()!r}\n"
