"""Every command that the README and docs/ show is one that its program takes."""

import re
import runpy
import sys
from argparse import ArgumentParser
from importlib import import_module

import pytest

from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.words import divided
from recsys.prepare.files.command_parser import CommandParser
from tests.console import PAGES, ROOT, Command, commands_of

COMMANDS = list({command.words: command for page in PAGES for command in commands_of(page)}.values())
OURS = [command for command in COMMANDS if command.words[0] not in ("head", "make")]
MADE = {
    "mine.yaml": "configs/criteo.yaml",
    "config.yaml": "configs/criteo.yaml",
    "small/config.yaml": "configs/demo.yaml",
}
"""Files that commands before have written, and what stands for them."""
WITH_CONFIGS = ("evaluate", "describe", "compress")
"""Commands that leave words that are not theirs to Lightning."""


class ParsedError(Exception):
    """All words were understood."""


@pytest.fixture
def stops_when_parsed(tmp_path, monkeypatch):
    """A folder where commands can name what docs name; every parser ends the program when it has understood."""
    for name in ("configs", "data_scripts", "benchmarks", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, original in MADE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / original).read_text())
    (tmp_path / "plan.yaml").write_text("model: {init_args: {exact_up_to: 0}}\n")
    monkeypatch.chdir(tmp_path)

    def stopping(kind):
        parse = kind.parse_args

        def parse_and_stop(parser, args=None, namespace=None):
            found = parse(parser, args, namespace)
            if type(parser) is not kind:
                return found
            raise ParsedError

        return parse_and_stop

    def stop(cli):
        raise ParsedError

    for kind in (ArgumentParser, CommandParser):
        monkeypatch.setattr(kind, "parse_args", stopping(kind))
    monkeypatch.setattr(RecsysCLI, "before_instantiate_classes", stop)


def start(words, monkeypatch):
    program, *arguments = words
    if program == "recsys" and arguments[0] in WITH_CONFIGS:
        module = import_module(f"recsys.commands.{arguments[0]}")
        own, others = divided(arguments[1:], module.parser())
        chosen, unknown = module.parser().parse_known_args(own)
        assert not unknown
        configs = [word for config in chosen.config for word in ("-c", config)]
        assert configs or not others
        arguments = ["fit", *configs, *others]
        if not configs:
            raise ParsedError
    if program in ("recsys", "lightning"):
        main(arguments)
    elif program == "python":
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.syspath_prepend(ROOT / "benchmarks")
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    else:
        raise AssertionError(f"what is {program}?")


@pytest.mark.parametrize("command", OURS, ids=str)
def test_its_program_takes_every_word(command, stops_when_parsed, monkeypatch, capsys):
    try:
        start(command.words, monkeypatch)
    except ParsedError:
        return
    except SystemExit as stop:
        pytest.fail(f"exit {stop.code}: {capsys.readouterr().err}")
    pytest.fail("it ran, and should have stopped when parsed")


def test_make_has_the_targets():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.words[1] for command in COMMANDS if command.words[0] == "make"}
    assert named
    assert named <= targets


@pytest.mark.parametrize(
    "words",
    [
        "recsys plan data --budgt 1%",
        "lightning fit -c configs/criteo.yaml --model.modle 1",
        "recsys evaluate --ckpt_path last.ckpt -c configs/criteo.yaml --slicee C9",
    ],
)
def test_a_word_too_many_is_found(words, stops_when_parsed, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        start(words.split(), monkeypatch)
    assert capsys.readouterr().err


def test_blocks_are_read_as_a_shell_does(tmp_path):
    page = tmp_path / "page.md"
    lines = [
        "```console",
        "$ N=--rate",
        "$ recsys fit \\",
        '    $N=3 "a b"  # why',
        "printed",
        "$ srun -n 8 bin/recsys x",
        "```",
    ]
    page.write_text("\n".join(lines) + "\n")
    assert commands_of(page) == [
        Command("page.md", ("recsys", "fit", "--rate=3", "a b")),
        Command("page.md", ("recsys", "x")),
    ]
