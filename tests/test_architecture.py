"""Who may import whom; what the folders are for shows in their imports."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINES = {"torchrec", "fbgemm_gpu"}
ENGINE_FILES = {
    Path("tables", f"{name}.py")
    for name in (
        "fbgemm_lookup",
        "torchrec_planner",
        "torchrec_store",
        "torchrec_distribution",
        "eviction",
        "managed_collision",
    )
}
DATA_TOOLS = {"numpy", "polars", "pyarrow", "rich", "scipy"}


def sources(folder):
    """Python files of a folder; the links in the package are read where they lead to."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if not (folder == "recsys" and _linked(path)))


def _linked(path):
    return path.relative_to(ROOT).parts[1] in ("tables", "models")


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
        engines = ENGINES if path.relative_to(ROOT) in ENGINE_FILES else set()
        assert top_level(path) <= {"torch", "recsys"} | engines, path
        ours = {name for name in imports(path) if name.split(".")[0] == "recsys"}
        assert all(name.startswith(f"recsys.{folder}.") for name in ours), path


def test_only_a_few_files_import_the_engines():
    for path in [*sources("recsys"), *sources("tables"), *sources("models")]:
        if path.relative_to(ROOT) not in ENGINE_FILES:
            assert not top_level(path) & ENGINES, path


@pytest.mark.parametrize("name", ["tables", "models"])
def test_the_package_links_to_the_folders(name):
    assert (ROOT / "recsys" / name).resolve() == ROOT / name


def test_data_scripts_import_data_tools_and_each_other():
    siblings = {path.stem for path in sources("data_scripts")}
    for path in sources("data_scripts"):
        assert top_level(path) <= DATA_TOOLS | siblings, path


def test_the_set_up_imports_the_standard_library_alone():
    assert not top_level(ROOT / "recsys" / "environment.py")


def test_every_folder_has_sources():
    assert all(sources(folder) for folder in ("recsys", "tables", "models", "data_scripts"))
