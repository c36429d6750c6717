"""A ClickSpec as YAML to edit, and back: every value is a text, so that a column may be called `no` or `007`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from recsys.prepare.clicks.click_spec import ClickSpec
from recsys.prepare.files.whole_files import write_new_text
from recsys.prepare.files.yaml_aliases import AliasChecks


def write_spec(path: Path, spec: ClickSpec, split: str, command: str) -> None:
    """Write what was decided, each column with the reason.

    Raises:
        ValueError: The file exists.
    """
    content = spec.as_json()
    columns = content.pop("columns")
    lines = [f"# What each column is, to edit and to give back: {command}", f"split: {_word(split)}"]
    lines += [f"{key}: {_word(value)}{_reason(spec, value)}" for key, value in content.items()]
    lines += ["columns:"]
    lines += [f"  {_word(name)}: {_word(entry)}{_reason(spec, name)}" for name, entry in columns.items()]
    left = [name for name in spec.reasons if name not in spec.needed]
    lines += ["# left out:", *(f"#  {_word(name)}{_reason(spec, name)}" for name in left)] if left else []
    try:
        write_new_text(path, "\n".join(lines) + "\n")
    except FileExistsError:
        raise ValueError(f"'{path}' exists and is kept; give another name, or read it with --spec.") from None


def _reason(spec: ClickSpec, name: Any) -> str:
    reason = spec.reasons.get(name) if isinstance(name, str) else None
    return f"  # {reason}" if reason else ""


def _word(value: Any) -> str:
    """A value in YAML's flow style, which JSON is; plain words without quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_word(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_word, value)) + "]"
    text = str(value)
    plain = text.isascii() and text.replace("_", "").replace("-", "").isalnum() and not text.startswith("-")
    return text if plain else json.dumps(text, ensure_ascii=False)


def read_spec(path: Path) -> tuple[ClickSpec, str | None]:
    """Read a spec, and the split it names.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)
    except FileNotFoundError:
        raise ValueError(f"--spec: '{path}' does not exist.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"--spec '{path}': not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"--spec '{path}': must map names to values, as prepare clicks writes it.")
    split = content.pop("split", None)
    if not isinstance(split, str | None):
        raise ValueError(f"--spec '{path}': split must be one word, got '{split}'.")
    return ClickSpec.from_json(content, f"--spec '{path}'"), split


class _TextLoader(AliasChecks, yaml.BaseLoader):  # type: ignore[misc]
    """Every value a text, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _construct_mapping(loader: _TextLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_TextLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
