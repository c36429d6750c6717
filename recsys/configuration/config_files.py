"""Config files of any command, our own included, and an explicit --ckpt_path that no file takes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse._actions import ActionConfigFile

from recsys.configuration.config_values import check_values
from recsys.configuration.own_tables import take_from_beside
from recsys.configuration.suggestions import SECTIONS, explain
from recsys.configuration.yaml_files import read_mapping

_OF_SOME_COMMANDS = ("ckpt_path", "weights_only", "verbose", "return_predictions", "untrained", "remap", "run")
"""Keys of a saved config.yaml that belong to the command that wrote it; another command leaves them aside."""
_EMPTY = ("optimizer", "lr_scheduler")
"""Keys of a saved config.yaml that say nothing there."""


class ConfigFile(ActionConfigFile):
    """-c FILE: read by us, so that a key occurs once and a file is named in what is said of it."""

    @staticmethod
    def apply_config(parser: Any, cfg: Any, dest: str, value: str) -> None:
        """Apply a file's keys, but those that only another command knows.

        Raises:
            ValueError: naming the file and what is wrong with it.
        """
        content = read_mapping(Path(value))
        check_values(content, value)
        take_from_beside(content, Path(value).parent)
        known = {action.dest for action in parser._actions}
        for key in list(content):
            is_empty = key in _EMPTY and content[key] is None
            if key not in known and (key in _OF_SOME_COMMANDS or is_empty):
                del content[key]
            elif not content[key] and not any(dest == key or dest.startswith(f"{key}.") for dest in known):
                # The parser would not look at what holds nothing.
                raise ValueError(explain(f"'{key}' of {value} is not a key here", key, SECTIONS))
        ActionConfigFile.apply_config(parser, cfg, dest, yaml.safe_dump(content, sort_keys=False) if content else "{}")


def explicit_checkpoint(arguments: Sequence[str]) -> str | None:
    """The last --ckpt_path of a command line; None if there is none, or it says null."""
    found = None
    for number, word in enumerate(arguments):
        if word == "--ckpt_path" and number + 1 < len(arguments):
            found = arguments[number + 1]
        elif word.startswith("--ckpt_path="):
            found = word.partition("=")[2]
    return None if found in (None, "", "null") else found
