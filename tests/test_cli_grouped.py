"""Options that belong together: typer sees each, the command gets the whole."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from optimizer.cli.grouped import grouped


@dataclass(frozen=True)
class Size:
    tall: Annotated[int, typer.Option(min=1)]
    wide: Annotated[int, typer.Option(help="metres")] = 2


def area(name: str, size: Size, twice: Annotated[bool, typer.Option("--twice")] = False) -> None:
    """Tell an area."""
    typer.echo(f"{name} {size.tall * size.wide * (1 + twice)}")


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(rich_markup_mode=None)
    made.command()(grouped(area))
    return made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["x", "--tall", "3"], "x 6"), (["x", "--tall", "3", "--wide", "4", "--twice"], "x 24")],
    ids=["default", "all"],
)
def test_the_command_gets_the_options_of_a_group_as_one_value(
    app: typer.Typer, arguments: list[str], said: str
) -> None:
    assert CliRunner().invoke(app, arguments).output.strip() == said


@pytest.mark.parametrize(
    ("arguments", "said"), [(["x"], "--tall"), (["x", "--tall", "0"], "equal to 1")], ids=["missing", "too-small"]
)
def test_limits_of_a_group_hold(app: typer.Typer, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_help_lists_the_options_of_a_group(app: typer.Typer) -> None:
    assert "metres" in CliRunner().invoke(app, ["--help"]).output
