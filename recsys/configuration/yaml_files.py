"""YAML files that say what they seem to say: every key once, no clock times or octal numbers that nobody meant."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from recsys.prepare.files.yaml_aliases import AliasChecks

_FLOAT = re.compile(
    r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(?:inf|Inf|INF))$"
    r"|^\.(?:nan|NaN|NAN)$"
)
_TRAPS = re.compile(r"^[-+]?(?:0[0-7_]+|\d[\d_]*(?::[0-5]?\d)+(?:\.\d*)?)$")
_FLOAT_TAG = "tag:yaml.org,2002:float"


class UniqueKeyLoader(AliasChecks, yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """A safe loader that refuses what YAML 1.1 reads otherwise than people do.

    A key given twice in one mapping, where YAML keeps the last; `0100`, which is 64; `1:30`, which is 90. `1e-3` is a
    number here, and dates are text. Keys merged with `<<` may be overridden.
    """

    yaml_implicit_resolvers: ClassVar = {
        letter: [(tag, found) for tag, found in resolvers if tag not in (_FLOAT_TAG, "tag:yaml.org,2002:timestamp")]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node.

        Raises:
            yaml.constructor.ConstructorError: if a key occurs twice.
        """
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key '{key}' in line {line} is already in line {seen[key]}; give it once"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        """The text of a plain value.

        Raises:
            yaml.constructor.ConstructorError: if it is a number to YAML and another one to people.
        """
        if node.style is None and isinstance(node.value, str) and _TRAPS.match(node.value):
            raise yaml.constructor.ConstructorError(
                problem=f"'{node.value}' in line {node.start_mark.line + 1} is a clock time or octal number to YAML; "
                f"write the number plainly, or quote it"
            )
        return super().construct_scalar(node)


UniqueKeyLoader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789."))


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        ValueError: naming the file, if it is missing, not text, not valid, not a mapping, or gives a key twice.
    """
    if not path.is_file():
        raise ValueError(f"'{path}' does not exist.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), UniqueKeyLoader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {_said(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: is nested too deeply to be read; write it flatter.") from error
    if content is None:
        raise ValueError(f"{path}: must hold keys and values, and is empty.")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, got {type(content).__name__}.")
    return content


def _said(error: yaml.YAMLError) -> str:
    """What is wrong, and in which line."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character #x{int(error.character):04x} at place {error.position}: {error.reason}."
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).strip()
    return f"line {mark.line + 1}: {problem}." if mark is not None else f"{problem}."
