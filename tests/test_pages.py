"""README and the examples show what tpopt really prints."""

from pathlib import Path

import console
import pytest

SHOWN = [
    pytest.param(page, command, output, id=f"{page.parent.name}: {command.splitlines()[0][:60]}")
    for page in console.pages()
    if page.is_file()
    for block in console.BLOCK.finditer(page.read_text(encoding="utf-8"))
    for command, output in console.commands(block["body"])
]


@pytest.mark.parametrize(("page", "command", "output"), SHOWN)
def test_a_page_shows_what_the_command_prints(page: Path, command: str, output: str) -> None:
    assert console.steady(console.run(command, page.parent)) == console.steady(output)


def test_there_are_pages_to_check() -> None:
    assert len(SHOWN) >= 10
