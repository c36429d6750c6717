"""The command on small trained models: what it writes, what it says, and what it refuses before it writes."""

import json

import pytest
import torch

from recsys.cli import main
from tests.trained_clicks import CONFIGS, train_clicks


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    return train_clicks(prepared, tmp_path_factory.mktemp("trained"))


def export(*words):
    with pytest.raises(SystemExit) as stop:
        main(["export", *map(str, words)])
    return stop.value.code


def test_the_folder_says_all_that_a_caller_needs(trained, prepared, tmp_path, capsys):
    checkpoint, words = trained
    out = tmp_path / "new" / "served"
    assert export(checkpoint, out, *words) == 0
    said = capsys.readouterr().out
    assert f"wrote {out / 'model.pt2'}" in said
    assert "compared with the checkpoint on 500 samples" in said
    signature = json.loads((out / "signature.json").read_text())
    assert (signature["program"], signature["task"], signature["checkpoint"]) == (
        "model.pt2",
        "CTRTask",
        checkpoint.name,
    )
    assert signature["outputs"] == ["logit", "probability"]
    assert signature["tensors"] == ["ids", "dense", "tags.values", "tags.lengths"]
    assert [each["name"] for each in signature["inputs"]["ids"]["features"]] == ["C1", "C2", "C3"]
    assert signature["inputs"]["bags"]["tags"]["num_ids"] == 20
    assert signature["compared"]["samples"] == 500
    assert signature["compared"]["largest_difference"] < 1e-5
    program = torch.export.load(out / "model.pt2").module()
    bags = {"tags": (torch.tensor([1]), torch.tensor([1]))}
    logit, probability = program(ids=torch.tensor([[1], [2], [3]]), dense=torch.zeros(1, 2), bags=bags)
    assert torch.equal(torch.sigmoid(logit), probability)
    assert list(tmp_path.rglob("*partial*")) == []


def test_a_folder_with_something_in_it_is_left_alone(trained, tmp_path, capsys):
    checkpoint, words = trained
    (tmp_path / "mine").write_text("x")
    assert export(checkpoint, tmp_path, *words) == 2
    assert "exists and is no empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--format", "pickle"], "invalid choice: 'pickle'"),
        (["--model.init_args.embedding_dim=4"], "embedding_dim"),
        (["--ckpt_path", "other.ckpt"], "'ckpt_path' is not an argument here.\n  known: seed_everything, model, data"),
        (["--sample", "5"], "'sample' is not an argument here"),
    ],
)
def test_mistakes_are_named(trained, tmp_path, capsys, change, said):
    checkpoint, words = trained
    assert export(checkpoint, tmp_path / "out", *words, *change) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_checkpoint_is_named(tmp_path, capsys):
    assert export(tmp_path / "none.ckpt", tmp_path / "out", "-c", CONFIGS / "criteo.yaml") == 2
    assert "none.ckpt" in capsys.readouterr().err
