"""A checkpoint of PISA is one as any other: of its data, gone on from, read by other commands or refused by kind."""

import pytest

from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI
from tests.checkpoints.test_session_identity import prepare


def command(data, root, *more):
    return [
        *("--model=PISATask", "--model.model=PISA", "--model.embedding_dim=4", "--model.max_length=20"),
        *("--data=SessionDataModule", f"--data.path={data}", "--data.batch_size=50", "--data.max_length=20"),
        *("--data.filter_seen=false", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={root}", *more),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("pisa")
    data = prepare(root / "old")
    RecsysCLI.launch(["fit", *command(data, root)])
    return data, next(root.rglob("*.ckpt"))


def ended(*words):
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, words)))
    return stop.value.code


def test_other_data_are_refused(trained, tmp_path):
    _, checkpoint = trained
    new = prepare(tmp_path / "new", more_users=300)
    with pytest.raises(ValueError, match="the ids of 'item' stand for other values"):
        RecsysCLI.launch(["test", *command(new, tmp_path), f"--ckpt_path={checkpoint}"])


def test_carrying_over_is_refused_by_what_goes_by_ids(trained, tmp_path):
    data, checkpoint = trained
    new = prepare(tmp_path / "new", more_users=300)
    with pytest.raises(ValueError, match="--remap: a PISATask knows by their ids which items share sessions"):
        RecsysCLI.launch(["test", *command(new, tmp_path), f"--ckpt_path={checkpoint}", f"--remap={data}"])


def test_a_run_goes_on_and_says_with_what(trained, tmp_path, capsys):
    data, checkpoint = trained
    more = ["--trainer.max_epochs=2", "--data.batch_size=40", f"--ckpt_path={checkpoint}"]
    RecsysCLI.launch(["fit", *command(data, tmp_path, *more)])
    said = capsys.readouterr().out
    assert f"weights: {checkpoint}, epoch 0, step 2" in said
    assert "settings: going on with others than the run before: data.batch_size: 50 before, 40 now" in said


def test_describe_reads_it(trained, tmp_path, capsys):
    data, checkpoint = trained
    assert ended("describe", "--ckpt_path", checkpoint, *command(data, tmp_path)) == 0
    assert "FullTable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export"], "PISATask"),
        (["compress", "--budget_fraction", "50%"], "models of CTRTask and NextItemTask, got PISA"),
    ],
)
def test_what_takes_no_pisa_says_so(trained, tmp_path, capsys, words, said):
    data, checkpoint = trained
    assert ended(words[0], checkpoint, tmp_path / "out", *words[1:], *command(data, tmp_path)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "does not fit" not in error
