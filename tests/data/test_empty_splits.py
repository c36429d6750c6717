"""Folders without rows of a split, or of features with one value: what each command makes of them."""

import json

import pytest

from recsys.configuration.lightning_cli import RecsysCLI
from recsys.data.check import main as check
from recsys.prepare.programs import clicks
from tests.checkpoints.words import command

WATCHING = {
    "EarlyStopping": {"monitor": "val/auc", "mode": "max"},
    "ModelCheckpoint": {"monitor": "val/log_loss"},
}


def prepare(folder, rows, *options):
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.csv"
    log.write_text("click,u,p\n" + "".join(f"{click},{u},{p}\n" for click, u, p in rows))
    clicks.main([str(log), "--label", "click", "--out", str(folder / "out"), *map(str, options)])
    return folder / "out"


def rows_of(num_rows=300):
    return [(number % 2, "abc"[number % 3], number % 7) for number in range(num_rows)]


@pytest.fixture(scope="module")
def without_val(tmp_path_factory):
    root = tmp_path_factory.mktemp("empty")
    return prepare(root, rows_of(), "--fractions", 0.9, 0, 0.1, "--config", root / "own.yaml")


def test_a_written_config_trains_without_validation(without_val, tmp_path):
    config = without_val.parent / "own.yaml"
    assert "monitor" not in config.read_text()
    more = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path}"]
    cli = RecsysCLI.launch(["fit", "-c", str(config), *more])
    assert cli.trainer.global_step > 0
    assert list(tmp_path.rglob("last.ckpt"))


@pytest.mark.parametrize("name", WATCHING)
def test_nothing_watches_what_is_not_there(without_val, tmp_path, name):
    entry = json.dumps([{"class_path": name, "init_args": WATCHING[name]}])
    with pytest.raises(ValueError, match=f"{name} watches val/.*, and '{without_val}' has no val rows; leave it out"):
        RecsysCLI.launch(["fit", *command(without_val, tmp_path, f"--trainer.callbacks={entry}")])


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_other_commands_say_which_rows_lack(without_val, tmp_path, name):
    split = {"validate": "val"}.get(name, "test")
    rows = without_val if split == "val" else prepare(tmp_path / "no", rows_of(), "--fractions", 0.9, 0.1, 0)
    with pytest.raises(ValueError, match=f"'{rows}' has no rows in {split}: it was prepared without any"):
        RecsysCLI.launch([name, *command(rows, tmp_path, "--untrained=true")])


def test_preparation_says_what_follows(tmp_path, capsys):
    prepare(tmp_path, rows_of(), "--fractions", 1, 0, 0)
    said = capsys.readouterr().out
    assert "WARNING: val has no rows; fit trains without validation" in said
    assert "WARNING: test has no rows; nothing tells how good a model is" in said


@pytest.mark.parametrize(
    ("rows", "options", "named"),
    [
        ([(n % 2, "k", n) for n in range(90)], ["--categorical", "u", "--dense", "p"], "of u train has one value"),
        (
            [(n % 2, "ab"[n // 2 % 2], 4) for n in range(90)],
            ["--categorical", "u", "--dense", "p"],
            "of p train has one",
        ),
        ([(n % 2, n, 4) for n in range(90)], ["--categorical", "u", "--min-count", 50], "of u train has one value"),
        ([(n % 2, "ab"[n // 2 % 2], n) for n in range(90)], ["--categorical", "u", "--dense", "p"], None),
    ],
)
def test_features_of_one_value_are_named(tmp_path, capsys, rows, options, named):
    folder = prepare(tmp_path, rows, *options)
    said = capsys.readouterr().out
    assert check([str(folder)]) == 0
    checked = capsys.readouterr().out
    for each in (said, checked):
        assert ("WARNING" in each) == (named is not None)
        assert named is None or named in each
    assert ("it is all that there is" in said) == ("--min-count" in options)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([(n % 2, "ab"[n % 2], n % 7) for n in range(90)], "u tells the label of every row"),
        ([(n % 2, "abc"[n % 3], 1 - n % 2) for n in range(90)], "p tells the label of every row"),
        ([(n % 2, "abcd"[n % 4], n % 2 * 5 + n % 3) for n in range(90)], "p, u tells the label of every row"),
        ([(n % 2, f"u{n}", n % 7) for n in range(90)], None),
        ([(n % 2, "abcd"[n % 4 if n else 1], n % 2 * 2 + n % 3) for n in range(90)], None),
    ],
    ids=["an id", "a number", "both", "ids of few rows", "nearly"],
)
def test_features_that_tell_the_label_are_named(tmp_path, capsys, rows, named):
    folder = prepare(tmp_path, rows, "--categorical", "u", "--dense", "p", "--min-count", 1)
    capsys.readouterr()
    assert check([str(folder)]) == 0
    said = capsys.readouterr().out
    assert ("WARNING" in said) == (named is not None)
    assert named is None or named in said


def test_check_warns_of_empty_splits(without_val, capsys):
    assert check([str(without_val)]) == 0
    assert "WARNING: val has no rows\n" in capsys.readouterr().out
