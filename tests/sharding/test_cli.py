"""A run that Lightning launches itself in two processes, from YAML; its checkpoint in every tool."""

import pytest
import torch
import yaml

from recsys.checkpoints.consolidated import load
from recsys.checkpoints.folder import read
from recsys.cli import main
from recsys.configuration.lightning_cli import run
from tests.sharding.processes import ROOT, run_module

STRATEGY = {
    "trainer": {
        "accelerator": "cpu",
        "devices": 2,
        "strategy": {
            "class_path": "TorchrecStrategy",
            "init_args": {
                "constraints": {"C?": {"sharding_type": "row_wise"}, "C1": {"sharding_type": "data_parallel"}}
            },
        },
    }
}
CONFIG = str(ROOT / "configs" / "criteo.yaml")
AVERAGED = str(ROOT / "configs" / "criteo_80k.yaml")


def arguments(prepared, folder, config=CONFIG):
    swap = [f"--data.init_args.path={prepared}", f"--trainer.default_root_dir={folder}"]
    return ["-c", config, *swap, "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


def fit_in_two(prepared, folder, *more, config=CONFIG):
    """What a run of two processes printed."""
    command = ["recsys", "fit", *arguments(prepared, folder, config), *more]
    return run_module(ROOT, *command, "--trainer.max_epochs=1", "--data.init_args.batch_size=128")


@pytest.fixture(scope="module")
def fitted(prepared, tmp_path_factory):
    """What a run printed, and its folder."""
    folder = tmp_path_factory.mktemp("fitted")
    (folder / "strategy.yaml").write_text(yaml.safe_dump(STRATEGY))
    return fit_in_two(prepared, folder, "-c", str(folder / "strategy.yaml")), folder


@pytest.fixture(scope="module")
def checkpoint(fitted):
    (found,) = fitted[1].rglob("epoch*.ckpt")
    assert found.is_dir()
    return found


def test_the_plan_is_printed_and_kept_beside_the_checkpoint(fitted, checkpoint):
    lines = [line for line in fitted[0].splitlines() if line.startswith("│ C")]
    assert [line.split("│")[3].strip() for line in lines[:3]] == ["replicated", "rows over 0, 1", "rows over 0, 1"]
    assert (checkpoint / "sharding_plan.json").is_file()
    assert (fitted[1] / "sharding_plan.json").is_file()


def scores(checkpoint, command):
    """What one process finds when it validates a checkpoint, and what two found when they saved it."""
    cli = run(["validate", *command, f"--ckpt_path={checkpoint}"])
    logged = float(cli.trainer.callback_metrics["val/auc"])
    state = torch.load(checkpoint / (checkpoint / "current").read_text() / "rest.pt", weights_only=True)
    best = next(entry for name, entry in state["callbacks"].items() if name.startswith("ModelCheckpoint"))
    return logged, pytest.approx(float(best["current_score"]), abs=1e-6)


def test_one_process_validates_it(checkpoint, prepared, tmp_path):
    one, two = scores(checkpoint, arguments(prepared, tmp_path))
    assert one == two


def test_averaged_weights_beside_sharded_rows(prepared, tmp_path):
    tables = ["--model.init_args.tables.sharded=FullTable", "--model.init_args.assign={sharded: [C3]}"]
    tables += ["--model.init_args.table_options={sharded: {optimizer: RowWiseAdagrad}}"]
    strategy = ["--trainer.strategy=TorchrecStrategy", "--trainer.strategy.init_args.replicate_rows=0"]
    fit_in_two(prepared, tmp_path, *tables, *strategy, "--trainer.devices=2", config=AVERAGED)
    (checkpoint,) = tmp_path.rglob("epoch*.ckpt")
    one, two = scores(checkpoint, [*arguments(prepared, tmp_path, AVERAGED), *tables])
    assert one == two
    state = read(checkpoint)
    current = state["current_model_state"]
    assert "collection.lookup.C3.weight" not in current
    assert not torch.equal(current["collection.lookup.C2.weight"], state["state_dict"]["collection.lookup.C2.weight"])
    assert any(name.startswith("model.") for name in current)
    more = ["--trainer.max_epochs=2", "--data.init_args.batch_size=256", f"--ckpt_path={checkpoint}"]
    assert run(["fit", *arguments(prepared, tmp_path, AVERAGED), *tables, *more]).trainer.current_epoch == 2


def test_one_process_goes_on_from_it(checkpoint, prepared, tmp_path):
    more = ["--trainer.max_epochs=2", "--data.init_args.batch_size=256"]
    cli = run(["fit", *arguments(prepared, tmp_path), *more, f"--ckpt_path={checkpoint}"])
    assert cli.trainer.current_epoch == 2


def test_it_is_described_and_consolidated(checkpoint, prepared, tmp_path, capsys):
    for command in (
        ["describe", f"--ckpt_path={checkpoint}", "-c", CONFIG, f"--data.init_args.path={prepared}"],
        ["consolidate", str(checkpoint), str(tmp_path / "plain")],
    ):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 0
    assert "C3" in capsys.readouterr().out
    assert torch.equal(load(tmp_path / "plain").lookup.weight("C3"), load(checkpoint).lookup.weight("C3"))


def test_other_tables_are_named_before_any_row_is_read(checkpoint, prepared, tmp_path):
    table = ["-c", str(ROOT / "configs" / "tables" / "hash.yaml")]
    with pytest.raises(ValueError, match=r"the checkpoint has other tables than this config:\n .*table 'C2': class is"):
        run(["validate", *arguments(prepared, tmp_path), *table, f"--ckpt_path={checkpoint}"])


def test_another_optimizer_is_named(checkpoint, prepared, tmp_path):
    other = ["--model.init_args.table_optimizer=SGD"]
    with pytest.raises(ValueError, match=r"'C2': optimizer is 'RowWiseAdagrad' in the checkpoint and 'SGD' here"):
        run(["fit", *arguments(prepared, tmp_path), *other, f"--ckpt_path={checkpoint}"])


def test_what_is_no_checkpoint_is_named(prepared, tmp_path):
    (tmp_path / "empty.ckpt").mkdir()
    for name, words in (("empty", "is not a whole checkpoint"), ("none", "does not exist")):
        with pytest.raises(ValueError, match=words):
            run(["validate", *arguments(prepared, tmp_path), f"--ckpt_path={tmp_path / name}.ckpt"])
