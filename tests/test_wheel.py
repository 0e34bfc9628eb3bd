"""The wheel holds all it needs: built, unpacked elsewhere, and run without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("tpopt-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(unpacked: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "COLUMNS": "100"}
    command = [sys.executable, "-m", "optimizer", *arguments]
    return subprocess.run(command, cwd=unpacked.parent, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_finds_its_presets_outside_the_checkout(unpacked: Path) -> None:
    where = "import optimizer.inputs.presets as p; print(p.preset_root())"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=unpacked.parent, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(unpacked / "optimizer" / "topologies")
    assert "h200-sxm" in run(unpacked, "presets", "gpus").stdout


def test_the_wheel_solves_a_preset(unpacked: Path) -> None:
    done = run(unpacked, "solve", "hgx-h200", "llama-3.1-8b", "-o", "plan.json")
    assert done.returncode == 0, done.stderr
    assert "optimal" in done.stdout
    assert (unpacked.parent / "plan.json").is_file()


def test_the_wheel_carries_types_and_nothing_of_the_tests(unpacked: Path) -> None:
    assert (unpacked / "optimizer" / "py.typed").is_file()
    assert sorted(p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")) == ["optimizer"]
