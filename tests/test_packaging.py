"""The wheel holds tables and models as folders of the package, and nothing from outside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return zipfile.ZipFile(folder / built.stdout.split()[-1])


def test_wheel_holds_every_source_of_the_package(wheel):
    expected = {f"recsys/{path.relative_to(ROOT / 'recsys')}" for path in (ROOT / "recsys").rglob("*.py")}
    for name in ("tables", "models"):
        expected |= {f"recsys/{path.relative_to(ROOT)}" for path in (ROOT / name).rglob("*.py")}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == expected
    assert "recsys/py.typed" in wheel.namelist()


def test_wheel_holds_the_configs(wheel):
    expected = {f"recsys/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name for name in wheel.namelist() if name.startswith("recsys/configs/")} == expected


def test_wheel_installs_both_commands(wheel):
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(entry_points).decode()
    assert "lightning = recsys.cli:main" in text
    assert "recsys = recsys.cli:main" in text
