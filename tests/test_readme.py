"""What the README and the pages of docs/ show runs, and leads somewhere."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from recsys.commands.methods import methods

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
AFTER_COMMANDS = ("serving.md",)
"""Pages whose Python reads what their commands have written, and which tests/test_pages.py runs."""
BLOCKS = [
    (page.name, block)
    for page in PAGES
    if page.name not in AFTER_COMMANDS
    for block in FENCED.findall(page.read_text())
]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page} {i}" for i, (page, _) in enumerate(BLOCKS)])
def test_python_blocks_run(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_commands_name_exist(page):
    blocks = "\n".join(re.findall(r"```(?:console|bash|sh)\n(.*?)```", page.read_text(), re.DOTALL))
    named = set(re.findall(r"(?:configs|data_scripts|benchmarks)/[\w/.-]+\.(?:yaml|py)", blocks))
    assert named or page.name != "README.md"
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_methods_of_the_readme_are_all_there_are():
    shown = re.findall(r"`(\w+Table)`", (ROOT / "README.md").read_text().split("## Methods")[1].split("\n## ")[0])
    assert sorted(shown) == sorted(method.__name__ for method in methods())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_every_page_is_in_the_navigation_once():
    def files(entry):
        """Of a title with a page, or of one with titles below it."""
        ((_, below),) = entry.items()
        return [below] if isinstance(below, str) else [name for each in below for name in files(each)]

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    assert sorted(name for entry in nav for name in files(entry)) == pages


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=lambda page: page.stem)
def test_every_public_name_has_its_place(page):
    public = {f"recsys.{page.stem}.{name}" for name in import_module(f"recsys.{page.stem}").__all__}
    assert set(re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)) == public
