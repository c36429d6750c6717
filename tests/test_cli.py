"""The command line: every config parses, builds and trains; mistakes are named."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.models import DeepFM

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
EXPERIMENTS = sorted(path.name for path in CONFIGS.glob("*.yaml") if "CTRTask" in path.read_text())
OF_ITEMS = {"semantic_id.yaml"}  # needs files about items: see test_semantic_configs
OVERRIDES = sorted({path.name for path in (CONFIGS / "tables").glob("*.yaml")} - OF_ITEMS)


def arguments(prepared, folder, config, *more):
    """A command on the small prepared folder; the demo's limit of exact tables is above all of its columns."""
    swap = [f"--data.init_args.path={prepared}", "--data.init_args.batch_size=64"]
    swap += [f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    if config == "demo.yaml":
        swap += ["--model.init_args.exact_up_to=500"]
    return ["-c", str(CONFIGS / config), *more, *swap]


@pytest.mark.parametrize("config", EXPERIMENTS)
def test_every_experiment_takes_two_steps(prepared, tmp_path, config):
    cli = RecsysCLI.launch(["fit", *arguments(prepared, tmp_path, config), "--trainer.fast_dev_run=2"])
    assert cli.trainer.global_step == 2


@pytest.mark.parametrize("override", OVERRIDES)
def test_every_override_swaps_the_tables_and_takes_two_steps(prepared, tmp_path, override):
    more = ["-c", str(CONFIGS / "tables" / override), "--model.init_args.exact_up_to=500"]
    cli = RecsysCLI.launch(
        ["fit", *arguments(prepared, tmp_path, "criteo_80k.yaml", *more), "--trainer.fast_dev_run=2"]
    )
    entry = yaml.safe_load((CONFIGS / "tables" / override).read_text())["model"]["init_args"]["tables"]["default"]
    wanted = entry if isinstance(entry, str) else entry["class_path"]
    assert type(cli.model.collection.table("C3")).__name__ == wanted
    assert type(cli.model.collection.table("C1")).__name__ == "FullTable", "8 ids stay exact"


def test_fit_then_validate_test_and_predict(prepared, tmp_path, capsys):
    cli = RecsysCLI.launch(["fit", *arguments(prepared, tmp_path, "criteo_80k.yaml"), "--trainer.max_epochs=1"])
    assert (Path(cli.trainer.log_dir) / "config.yaml").exists()
    assert list(tmp_path.rglob("metrics.csv"))
    assert list(tmp_path.rglob("events.out.tfevents*"))
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    assert f": {checkpoint}\n" in capsys.readouterr().out
    assert [logger.version for logger in cli.trainer.loggers] == [0, 0]
    for command in ("validate", "test", "predict"):
        RecsysCLI.launch([command, *arguments(prepared, tmp_path, "criteo_80k.yaml"), f"--ckpt_path={checkpoint}"])
    assert (tmp_path / "predictions.parquet").exists()
    other = ["-c", str(CONFIGS / "tables" / "hash.yaml")]
    with pytest.raises(
        ValueError, match=r"other tables than this config:\n  table 'C2': class is 'FullTable' in the che"
    ):
        RecsysCLI.launch(
            ["test", *arguments(prepared, tmp_path, "criteo_80k.yaml", *other), f"--ckpt_path={checkpoint}"]
        )


@pytest.mark.parametrize(("fallback", "dtype"), [("true", torch.float32), ("false", torch.bfloat16)])
def test_bf16_falls_back_where_it_is_slow_unless_insisted_on(prepared, tmp_path, monkeypatch, fallback, dtype):
    monkeypatch.setattr("recsys.configuration.lightning_cli.has_bf16_hardware", lambda: False)
    seen = []

    def forward(self, embeddings, dense):
        seen.append((embeddings.flatten(1).float() @ torch.ones(embeddings[0].numel(), 1)).dtype)
        return dense[:, 0]

    monkeypatch.setattr(DeepFM, "forward", forward)
    command = ["predict", *arguments(prepared, tmp_path, "criteo_80k.yaml"), f"--precision_fallback={fallback}"]
    command += ["--untrained=true"]
    RecsysCLI.launch([*command, "--trainer.limit_predict_batches=1"])
    assert seen == [dtype]


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_every_precision_takes_multi_valued_features(prepared, tmp_path, precision):
    more = [f"--trainer.precision={precision}", "--precision_fallback=false", "--trainer.fast_dev_run=1"]
    cli = RecsysCLI.launch(["fit", *arguments(prepared, tmp_path, "movielens.yaml"), *more])
    assert cli.datamodule.schema.multi_valued
    assert cli.trainer.global_step == 1


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_predictions_in_half_precision_are_of_single(prepared, tmp_path, precision):
    more = [f"--trainer.precision={precision}", "--precision_fallback=false", "--untrained=true"]
    RecsysCLI.launch(["predict", *arguments(prepared, tmp_path, "movielens.yaml"), *more])
    found = pq.read_schema(tmp_path / "predictions.parquet")
    assert {str(found.field(name).type) for name in ("label", "logit")} == {"float"}


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        (["--model.init_args.embeding_dim=8"], ["'embeding_dim' is not an argument", "did you mean 'embedding_dim'?"]),
        (["--model.init_args.model.class_path=DepFM"], ["no class 'DepFM'", "did you mean 'DeepFM'?"]),
        (["--model.init_args.tables.default=HashTabel"], ["no class 'HashTabel'", "did you mean 'HashTable'?"]),
        (["--model.init_args.assign={defalt: [C1]}"], ["'defalt', which is not in tables", "did you mean 'default'?"]),
        (["--model.init_args.modle=DLRM"], ["'modle' is not an argument", "did you mean 'model'?"]),
        (["--trainer.strategy=torchrek"], ["no trainer.strategy 'torchrek'", "did you mean 'torchrec'?"]),
        (
            [
                "--trainer.strategy=TorchrecStrategy",
                "--trainer.strategy.init_args.constraints={C1: {sharding_type: rowwise}}",
            ],
            ["error: TableSharding: sharding_type must be one of data_parallel", "got 'rowwise'."],
        ),
        (
            ["--trainer.strategy=TorchrecStrategy", "--trainer.strategy.constraint={C1: {sharding_type: row_wise}}"],
            ["'constraint' is not an argument here; did you mean 'constraints'?"],
        ),
        (
            ["--trainer.strategy=TorchrecStrategy", "--trainer.strategy.constraints={C1: {sharding_typ: row_wise}}"],
            ["'sharding_typ' is not an argument here; did you mean 'sharding_type'?"],
        ),
        (
            ["--trainer.strategy=TorchrecStrategy", "--trainer.strategy.constraints={C1: row_wise}"],
            ["constraints: a matrix needs a sharding_type", "did you mean {sharding_type: row_wise}?"],
        ),
        (
            ["--trainer.strategy=TorchrecStrategy", "--trainer.strategy.pipelin=true"],
            ["'pipelin' is not an argument here; did you mean 'pipeline'?"],
        ),
        (
            ["--trainer.strategy=torchrec", "--trainer.strategy.pipelin=true"],
            ["did you mean --trainer.strategy TorchrecStrategy --trainer.strategy.pipeline VALUE?"],
        ),
        (
            ["--trainer.strategy=torchrec", "--trainer.strategy.speed=9"],
            ["'speed' is not an argument of TorchrecStrategy.\n  known: constraints, planner,"],
        ),
        (["--trainer.strategy.class_path=torchrec"], ["its class is class_path: TorchrecStrategy"]),
        (
            ["--trainer.strategy.class_path=TorchrecStrateg"],
            ["error: there is no strategy class 'TorchrecStrateg'; did you mean 'TorchrecStrategy'?\n"],
        ),
        (["--trainr.max_epochs=3"], ["'trainr' is not an argument", "did you mean 'trainer'?"]),
        (["--trainer.max_epocks=3"], ["'max_epocks' is not an argument", "did you mean 'max_epochs'?"]),
        (["--data.init_args.path=no/criteo"], ["'no/criteo' does not exist", "recsys prepare criteo --raw"]),
    ],
)
def test_a_mistake_ends_with_what_was_meant(prepared, tmp_path, capsys, changes, messages):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments(prepared, tmp_path, "criteo.yaml"), *changes])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    for message in messages:
        assert message in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {class_path: CTRTask}", "'modle' is not a key here; did you mean 'model'?"),
        ("trainer: {max_epoch: 3}", "'max_epoch' is not a key here; did you mean 'max_epochs'?"),
        ("trainer: {max_epochs: [3", "override.yaml is not valid YAML: line 1: expected"),
    ],
)
def test_a_misspelt_section_of_a_file_is_named(tmp_path, capsys, text, message):
    (tmp_path / "override.yaml").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(CONFIGS / "criteo.yaml"), "-c", str(tmp_path / "override.yaml")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_error_from_elsewhere_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(RecsysCLI, "launch", lambda arguments: int("no number"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["fit"])


def test_a_cause_that_was_never_raised(monkeypatch, capsys):
    def launch(arguments):
        raise OSError(errno.EFBIG, "File too large", "report.html") from OSError("written by hand")

    monkeypatch.setattr(RecsysCLI, "launch", launch)
    with pytest.raises(SystemExit) as stop:
        main(["fit"])
    assert stop.value.code == 2
    assert "error: File too large: 'report.html'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fitt"], "unknown command 'fitt'; did you mean 'fit'?"),
        (["fit", "-c", str(CONFIGS / "crite.yaml")], "criteo.yaml'?"),
        ([], "usage: recsys"),
    ],
)
def test_a_wrong_command_or_file_is_named(capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_every_command_with_a_line(capsys):
    main(["--help"])
    printed = capsys.readouterr().out.splitlines()
    modules = {path.stem for path in (Path(__file__).parents[1] / "recsys" / "commands").glob("*.py")}
    for name in {"fit", "validate", "test", "predict", *modules} - {"__init__", "checkpoint_predictions"}:
        assert [line for line in printed if line.startswith(f"  {name} ")], name


def test_doctor_runs():
    result = subprocess.run([sys.executable, "-m", "recsys", "doctor"], capture_output=True, text=True, check=False)
    assert "torchrec" in result.stdout
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: what was printed is not whole: No space left"),
    ],
)
def test_output_that_nobody_takes(monkeypatch, capsys, error, code, said):
    """As of `| head -1`, and of a full disk: no words of Python's own, and no exit code 0."""

    def flush() -> None:
        raise error

    stream = io.StringIO()
    monkeypatch.setattr(stream, "flush", flush)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == code
    assert capsys.readouterr().err.startswith(said)
