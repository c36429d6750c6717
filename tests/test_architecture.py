"""Who may import whom; what the folders are for shows in their imports."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINES = {"torchrec", "fbgemm_gpu", "numba"}
ENGINE_FOLDERS = (Path("tables/lookups"), Path("tables/sharded"), Path("recsys/sharding"))
ENGINE_FILES = {Path("tables/eviction.py"), Path("tables/managed_collision.py")}
FILE_READERS = {Path(f"tables/item_{name}.py") for name in ("codes", "files", "fingerprints", "vectors")}
DATA_TOOLS = {
    "numpy",
    "polars",
    "pyarrow",
    "rich",
    "scipy",
    "sentence_transformers",
    "sentencepiece",
    "sklearn",
    "yaml",
}
MOST_MODULES, MOST_SCRIPTS = 10, 8

FLOORS = (
    {"argument_types"},
    {"tables", "models", "prepare", "human", "causes", "environment", "hardware"},
    {"data", "evaluation", "losses", "checkpoints"},
    {"sharding", "description", "planning", "semantic_ids"},
    {"metrics"},
    {"baselines"},
    {"tasks"},
    {"configuration"},
    {"comparison", "compression", "exporting"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""Rooms of recsys from the ground up; a file imports from its own room and from floors below it."""


def sources(folder):
    """Python files of a folder; the links in the package are read where they lead to."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if not (folder == "recsys" and _linked(path)))


def _linked(path):
    return path.relative_to(ROOT).parts[1] in ("tables", "models")


def may_use_engines(path):
    inside = path.relative_to(ROOT)
    return inside in ENGINE_FILES or any(folder in inside.parents for folder in ENGINE_FOLDERS)


def imports(path):
    """Full names of what a file imports anywhere, for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(path):
    return {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names


@pytest.mark.parametrize("folder", ["tables", "models"])
def test_tables_and_models_import_torch_and_themselves(folder):
    for path in sources(folder):
        engines = {*ENGINES, "llvmlite", "numpy"} if may_use_engines(path) else set()
        engines |= {"numpy", "pyarrow"} if path.relative_to(ROOT) in FILE_READERS else set()
        assert top_level(path) <= {"torch", "recsys"} | engines, path
        ours = {name for name in imports(path) if name.split(".")[0] == "recsys"}
        assert all(name.startswith((f"recsys.{folder}.", "recsys.argument_types.")) for name in ours), path


def test_only_a_few_files_import_the_engines():
    for path in [*sources("recsys"), *sources("tables"), *sources("models")]:
        if not may_use_engines(path):
            assert not top_level(path) & ENGINES, path


@pytest.mark.parametrize("name", ["tables", "models"])
def test_the_package_links_to_the_folders(name):
    assert (ROOT / "recsys" / name).resolve() == ROOT / name


def test_preparation_needs_no_torch():
    for path in sources("recsys/prepare"):
        assert top_level(path) <= DATA_TOOLS | {"recsys"}, path
        ours = {name for name in imports(path) if name.split(".")[0] == "recsys"}
        assert all(name.startswith(("recsys.prepare.", "recsys.argument_types.")) for name in ours), path


def test_a_data_script_is_a_page_over_the_package():
    scripts = sources("data_scripts")
    assert len(scripts) <= MOST_SCRIPTS
    for path in scripts:
        assert all(name.startswith("recsys.prepare.programs.") for name in imports(path)), path


def test_no_room_imports_from_a_floor_above():
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    for path in sources("recsys"):
        own = path.relative_to(ROOT / "recsys").parts[0].removesuffix(".py")
        for name in imports(path):
            package, _, rest = name.partition(".")
            room = rest.split(".")[0]
            if package == "recsys" and room not in (own, "__version__"):
                assert floor_of[room] < floor_of[own], f"{path} imports {name}"


def test_few_modules_stand_at_the_top():
    assert len(list((ROOT / "recsys").glob("*.py"))) <= MOST_MODULES


@pytest.mark.parametrize("name", ["environment", "argument_types"])
def test_what_comes_before_all_else_imports_the_standard_library_alone(name):
    assert not top_level(ROOT / "recsys" / f"{name}.py")


def test_no_parser_takes_abbreviations():
    """argparse does unless it is told otherwise; an abbreviation is another option after the next release."""
    ours = {ROOT / "recsys/environment.py", ROOT / "recsys/prepare/files/command_parser.py"}
    for path in [*sources("recsys"), *sources("data_scripts")]:
        made = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert path in ours or not made & {"argparse.ArgumentParser", "ArgumentParser"}, path
    assert "allow_abbrev=False" in (ROOT / "recsys/environment.py").read_text()


def test_every_folder_has_sources():
    assert all(sources(folder) for folder in ("recsys", "tables", "models", "data_scripts"))
