"""Bad inputs, a line each: what is given, and what the one sentence that answers must name. Add yours to the tables.

Everything runs in this process: `fit` of a small folder of words, with what the line says on top.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import polars
import pytest
import torch

from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI
from tests.checkpoints.words import command, write_words

STORED = "{default: {class_path: SemanticIdTable, init_args: {codes: {class_path: StoredCodes, init_args: %s}}}}"
HASH = "{default: {class_path: HashTable, init_args: {num_rows: %s}}}"

FLAGS = [
    ("--model.embedding_dim=four", "embedding_dim must be int, got four"),
    ("--model.embedding_dim=32768", "embedding_dim must be a whole number in [1, 4096], got 32768"),
    ("--model.embedding_dim=null", "embedding_dim must be int, got None"),
    ("--model.embedding_dim=-1", "embedding_dim must be a whole number in [1, 4096], got -1"),
    ("--model.warmup_steps=1.5", "warmup_steps must be int, got 1.5"),
    (f"--model.tables={HASH % '1e3'}", "tables.num_rows must be int, got 1000.0; write 1000"),
    ("--model.assign=3", "assign must be keys and values, got 3"),
    ("--model.table_optimizer.learning_rate=x", "learning_rate must be float, got x"),
    (
        f"--model.tables={STORED % '{num_levels: 2, num_codes: 4}'}",
        "table 'word' has the stored codes or vectors of a checkpoint, and none is loaded",
    ),
    ("--model.lookup=TorchLookup", "'TorchLookup' is given by its whole name here: recsys.tables"),
    ("--model.lookup=TorchLookp", "did you mean 'TorchLookup'?"),
    ("--data.batch_size=big", "batch_size must be int, got big"),
    ("--data.shuffle=perhaps", "shuffle must be bool, got perhaps"),
    ("--data.path=NOWHERE", "data folder 'NOWHERE' does not exist"),
    (f"--data.path={__file__}", f"data path '{__file__}' is a file; it must be a folder"),
    ("--data=SessionDataModule", "model CTRTask does not read data of SessionDataModule; give data: CTRDataModule"),
    ("--trainer.devices=1.5", "devices"),
    ("--trainer.max_epochs=many", "trainer.max_epochs must be int, got many"),
    ("--trainer.max_steps=1e3", "trainer.max_steps must be int, got 1000.0; write 1000"),
    ("--trainer.accelerator=tpuu", "accelerator='tpuu'"),
    ("--trainer.precision=17", "trainer.precision must be one of 64, 32, 16 or"),
    ("--trainer.gradient_clip_val=x", "trainer.gradient_clip_val must be int or float, got x"),
    ("--seed_everything=abc", "seed_everything must be bool or int, got abc"),
    ("--optimizer=Adam", "model.init_args.optimizer"),
    ("--optimizer=Adam", "--optimizer is not an argument here"),
    ("--lr_scheduler=StepLR", "final_learning_rate_fraction"),
    ("--lr_scheduler=StepLR", "warmup_steps"),
    ("--weights_only=false", "'weights_only' is not an argument here"),
    ("--untrained=true", "'untrained' is not an argument here"),
    ("--remap=x", "give the checkpoint with --ckpt_path"),
    ("--ckpt_path=nowhere.ckpt", "checkpoint 'nowhere.ckpt' does not exist"),
    (f"--ckpt_path={__file__}", f"checkpoint '{__file__}' is truncated or not a checkpoint"),
    ("--ckpt_path=best", "--ckpt_path 'best' is a word for what a run in progress has saved"),
    ("--trainer.max_epoch=3", "did you mean 'max_epochs'?"),
    ("--data.batch=3", "did you mean 'batch_size'?"),
    ("--model.embedding=3", "did you mean 'embedding_dim'?"),
    ("--seed=3", "did you mean --data.seed or --seed_everything?"),
    ("--precision=3", "did you mean --trainer.precision or --precision_fallback?"),
]

CLASSES = [
    ("--model.tables={default: torch.nn.Linear}", "tables must be a Table, got torch.nn.Linear"),
    ("--model.tables={default: my.Table}", "model.tables: 'my.Table' is no class to be imported here (No module named"),
    ("--model.tables={default: Table}", "Table is what other classes are made from; name one of them"),
    (
        "--model.tables={default: CodebookTable}",
        "CodebookTable needs num_parts, num_choices; write {class_path: Codebook",
    ),
    ("--model.tables={default: {class_path: HashTable, init_args: 5}}", "got {class_path: HashTable, init_args: 5}"),
    (
        "--model.tables={default: {class_path: HashTable, extra: 3}}",
        "must be the name of a class, or {class_path: NAME",
    ),
    (
        "--model.tables={default: 5}",
        "tables must be the name of a class, or {class_path: NAME, init_args: {...}}, got 5",
    ),
    ("--model.tables=FullTable", "tables must be keys and values, got FullTable"),
    ("--model.table_options={default: 5}", "table_options must be the name of a class"),
    ("--model.table_optimizer=torch.optim.Adam", "table_optimizer must be a TableOptimizer, got torch.optim.Adam"),
    ("--model.lookup=torch.nn.Linear", "lookup must be a Lookup, got torch.nn.Linear"),
    ("--model.optimizer.lr=nan", "optimizer.lr must be float, got nan"),
    ("--model.model=SASRec", "CTRTask: model must be made of (num_features, embedding_dim, num_dense), as DeepFM"),
    ("--model.model=null", "CTRTask needs model; write"),
    (
        "--model.model=torch.nn.Linear",
        "CTRTask: model must give logits [B] of embeddings [B, 2, 4] and dense [B, 1], as DeepFM does; Linear says "
        "TypeError: Linear.forward() takes 2 positional arguments but 3 were given",
    ),
    ("--model.model=torch.nn.Bilinear", "as DeepFM does; Bilinear says RuntimeError: "),
    ("--model.model=torch.nn.Transformer", "CTRTask: model must be made of (num_features, embedding_dim, num_dense)"),
    ("--model.model=torch.nn.CosineSimilarity", "CTRTask: model must be made of (num_features, embedding_dim, num_"),
    ("--model.model=lightning.LightningModule", "CTRTask: model must be made of (num_features, embedding_dim, num_"),
    ("--data=torch.nn.Linear", "data must be a LightningDataModule, got torch.nn.Linear"),
    ("--data.path=null", "CTRDataModule needs path; write"),
    (
        "--trainer.callbacks=[{class_path: EarlyStopping}]",
        "EarlyStopping needs monitor; write {class_path: EarlyStopping",
    ),
]
"""Classes that are none, are of another kind, or lack an argument."""

SETTINGS = [
    ("--model.exact_up_to=-1", "exact_up_to must be at least 0, got -1"),
    ("--model.tables={default: FullTable, other: FullTable}", "tables has 'other', which no feature uses; name its"),
    ("--model.assign={default: [word], other: [hour]}", "assign names table 'other', which is not in tables"),
    ("--model.table_options={default: {freeze: true, optimizer: SGD}}", "table_options: freeze keeps rows as they are"),
    ("--model.table_options={default: {init_from: nowhere.npy}}", "init_from fills one matrix"),
    (
        "--model.budget_fraction=10%",
        "budget_fraction=10% is a budget of 59 bytes, and the tables without a size to choose take 592; raise it",
    ),
    ("--model.budget_fraction=10%", "raise it, or give 'default' a method that takes a budget, such as HashTable"),
    (f"--model.tables={HASH % '5, num_lookups: 33'}", "num_lookups must be in [1, 32], got 33"),
    (
        "--model.tables={default: {class_path: FullTable, init_args: {init_std: -1}}}",
        "init_std must be in [0, 10000], got",
    ),
    ("--model.optimizer.lr=-1", "CTRTask: optimizer cannot be made, see model.optimizer: Invalid learning rate: -1.0"),
    ("--model.optimizer=torch.optim.SparseAdam", "optimizer must take dense gradients, got SparseAdam"),
    ("--model.optimizer=torch.optim.LBFGS", "optimizer cannot be made, see model.optimizer: LBFGS doesn't support"),
    ("--model.optimizer=torch.optim.Adam --model.optimizer.maximize=true", "optimizer has maximize=True, which climbs"),
    (
        "--model.optimizer=torch.optim.Adam --model.optimizer.fused=true --model.optimizer.foreach=true",
        "CTRTask: optimizer cannot be made, see model.optimizer: `fused` and `foreach` cannot be `True` together",
    ),
    ("--model.optimizer=null", "optimizer must be a class or function, got None"),
    ("--data.drop_last=true --data.batch_size=2000", "drop_last=True leaves no batch of batch_size=2000 in 1500 rows"),
    ("--seed_everything=-1", "seed_everything: -1 is not in bounds"),
    ("--trainer.gradient_clip_val=-1", "trainer.gradient_clip_val must be at least 0 and finite, got -1"),
    ("--trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be at least 1, got 0"),
    (
        "--trainer.callbacks=[{class_path: LearningRateFinder}] --trainer.fast_dev_run=0",
        "trainer: When using the learning rate finder, either `model` or `model.hparams` should have",
    ),
    ("--trainer.default_root_dir=", "trainer.default_root_dir must not be empty; leave it out, or write ."),
    ("--trainer.limit_train_batches=0 --trainer.fast_dev_run=0", "trainer.limit_train_batches: 0 leaves nothing to do"),
    ("--trainer.max_steps=0 --trainer.fast_dev_run=0", "trainer.max_steps: 0 leaves nothing to do"),
    (
        "--trainer.min_epochs=5 --trainer.max_epochs=2 --trainer.fast_dev_run=0",
        "trainer.min_epochs=5 is more than max_epochs=2, which ends the run",
    ),
    (
        "--trainer.min_steps=50 --trainer.max_steps=2 --trainer.fast_dev_run=0",
        "trainer.min_steps=50 is more than max_steps=2, which ends the run",
    ),
    ("--trainer.val_check_interval=0 --trainer.fast_dev_run=0", "trainer.val_check_interval must be above 0, got 0"),
    ("--trainer.num_sanity_val_steps=-3 --trainer.fast_dev_run=0", "num_sanity_val_steps must be at least -1, got -3"),
    (
        "--model.model=recsys.models.DeepFM --model.model.hidden_dims=[100000000000]",
        "the memory does not hold what was asked for",
    ),
    ("--trainer.callbacks=ModelCheckpoint", "trainer.callbacks must be a list, got ModelCheckpoint alone; write [{cl"),
    ("--trainer.log_every_n_steps=-1", "trainer.log_every_n_steps must be at least 0, got -1"),
    ("--trainer.barebones=true", "trainer.barebones: true leaves out logs, callbacks and checkpoints"),
    (
        "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/auc, mode: highest}}]",
        "trainer: `mode` can be min, max, got highest",
    ),
    (
        "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/auc}}]",
        "EarlyStopping watches val/auc with mode: min, which takes the worst for the best; write mode: max.",
    ),
    (
        "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {monitor: val/log_loss, mode: max}}] "
        "--trainer.fast_dev_run=0",
        "ModelCheckpoint watches val/log_loss with mode: max, which takes the worst for the best; write mode: min.",
    ),
    (
        "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val_auc, mode: max}}]",
        "EarlyStopping watches val_auc, which nothing logs; did you mean val/auc?",
    ),
    (
        "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {monitor: val_loss}}] --trainer.fast_dev_run=0",
        "ModelCheckpoint watches val_loss, which nothing logs; did you mean val/log_loss?",
    ),
]
"""Settings that fit no data, each other or no run."""

COMMANDS = [
    ("methods --num_embeddings 0", "--num_embeddings must be in [1, 268435456], got 0"),
    (f"methods --num_embeddings {10**30}", "--num_embeddings must be in [1, 268435456], got 1000"),
    ("plan x --budget_fraction 1% --memory 1GB", "--memory 1GB: is said of the devices of --gpus, which is missing"),
    ("plan x --budget_fraction 1% --gpus_per_host 2", "--gpus_per_host 2: is said of the devices of --gpus"),
    ("plan x --budget_fraction 1% --gpus 2 --batch_size 0", "--batch_size must be at least 1, got 0"),
    ("plan x --budget_fraction 1% --gpus 100000000", "--gpus must be in [1, 4096], got 100000000"),
    ("plan x --budget_fraction 1% --embedding_dim 5000", "--embedding_dim must be in [1, 4096], got 5000"),
    ("plan x --budget_fraction 1% --overwrite", "--overwrite: replaces the file of --out, which is missing"),
    ("plan x --budget_fraction 1% --out=", "argument --out: a path must not be empty"),
    ("doctor now", "recsys doctor: now: one argument too many"),
    ("evaluate", "give files of predictions, or --ckpt_path with -c"),
    ("evaluate x.parquet --out=", "argument --out: a path must not be empty"),
    ("fit", "data and model: not given; name a config that has it with -c CONFIG"),
    ("prepare criteo --raw nowhere --out x", "--raw: 'nowhere' does not exist"),
    ("prepare avazu --raw nowhere --out x", "--raw: 'nowhere' does not exist"),
    ("prepare clicks nowhere --out x", "'nowhere' does not exist"),
    ("prepare sessions --raw nowhere --out x", "give --user and --item, names of columns, or --layout"),
    ("compare run x.yaml --trials 3", "--trials 3 is for compare search; leave it out"),
    ("compare report x.yaml --jobs 3", "--jobs 3 is for compare run and search; leave it out"),
    ("compare report x.yaml --threads 2", "--threads 2 is for compare run and search"),
    ("compare search x.yaml --as-written", "--as-written is for compare report; leave it out"),
    ("compare search x.yaml --trials 0", "argument --trials: must be a whole number from 1, got '0'"),
    ("methods --embedding_dim 5000", "--embedding_dim must be in [1, 4096], got 5000"),
]

ABBREVIATED = [
    ("evaluate x.parquet --grou u", "did you mean --group?"),
    ("plan folder --budget_byte 1MB", "did you mean '--budget_bytes'?"),
    ("methods --num 3", "did you mean '--num_embeddings'?"),
    ("compare run x.yaml --jobs 0", "--jobs: must be a whole number from 1, got '0'"),
    ("describe --ckpt_path x --seed -1", "--seed: must be a whole number in [0, 4294967296), got '-1'"),
    ("compress x y --seed 1.5", "--seed: must be a whole number in [0, 4294967296), got '1.5'"),
    ("compare run file.yaml --job 3", "did you mean '--jobs'?"),
    ("consolidate a b --opt", "did you mean '--optimizer-state'?"),
    ("semantic_ids --meth x", "did you mean '--method'?"),
    ("semantic_ids report x --nam 3", "did you mean '--name'?"),
    ("prepare check x --deep", "there is no option '--deep'"),
    ("prepare check x -d", "-d: one argument too many"),
    ("prepare clicks x --lab y", "did you mean '--label'?"),
    ("prepare apply folder x --ou y", "did you mean '--out'?"),
    ("prepare sessions --tim y", "did you mean '--time'?"),
    ("prepare criteo --samp 3", "did you mean '--sample'?"),
    ("prepare avazu --split-b 3", "there is no option '--split-b'; did you mean '--split'?"),
    ("prepare movielens --min=3", "did you mean '--min-count'?"),
    ("prepare semantic_ids --meth x", "recsys prepare semantic_ids: there is no option '--meth'"),
]

NINES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
"""Each line nine times the one before: 9**8 values."""

FILES = [
    ("model: {embedding_dim: 8}\nmodel: {embedding_dim: 9}", "key 'model' in line 2 is already in line 1"),
    ("trainer: {max_epochs: 1, max_epochs: 2}", "key 'max_epochs' in line 1 is already in line 1"),
    ("trainer: {max_time: 1:30}", "'1:30' in line 1 is a clock time or octal number to YAML"),
    ("seed_everything: 0100", "'0100' in line 1 is a clock time or octal number"),
    ("trainer: {max_epochs: [3", "is not valid YAML: line 1"),
    ("a: " + "[" * 3000 + "]" * 3000, "is nested too deeply to be read"),
    ("trainer:\n\tmax_epochs: 3", "is not valid YAML: line 2"),
    ("trainer: {}\0", "is not valid YAML: character #x0000 at place 11: special characters are not allowed."),
    ("- a\n- b", "must hold keys and values, got list"),
    ("", "must hold keys and values, and is empty"),
    ("# größe\n".encode("latin-1"), "is not text in UTF-8"),
    ("trainer: {max_epoch: 3}", "did you mean 'max_epochs'?"),
    ("optimizer: {class_path: torch.optim.Adam}", "model.init_args.optimizer"),
    ("modle: {}", "did you mean 'model'?"),
    ("datas:", "did you mean 'data'?"),
    ("trainer: [1]", "bad.yaml: trainer must hold keys and values, got [1]"),
    ("model: {class_path: 3}", "bad.yaml must be the name of a class, got 3"),
    ("model: {init_args: {table_optimizer: {class_path: [SGD]}}}", "'model.init_args.table_optimizer.class_path' of"),
    ("3: 4", "key 3 of "),
    ('data: {init_args: {path: "a\\0"}}', "bad.yaml holds a character that no text has, got 'a\\x00'"),
    ('data: {init_args: {path: "\\ud800"}}', "bad.yaml holds a character that no text has, got '\\ud800'"),
    ("model: &a {init_args: *a}", "line 1: an alias stands inside of the value that it names"),
    (NINES, "its aliases stand for more than 1,000,000 values"),
]

SECTIONS = [("trainer: 5", "got 5"), ("trainer: [1]", "got [1]"), ("trainer:", "got None")]
"""Sections of the wrong kind, in a file that alone makes a run."""

UNREADABLE = FILES[:10]
"""Files that must be named, because nothing else tells which of several it was."""

CHECKPOINTS = [
    (b"", "is truncated or not a checkpoint"),
    (b"PK\x03\x04 and no more", "is truncated or not a checkpoint"),
    ({"state_dict": {}}, "has no epoch"),
    ({"weight": torch.ones(2)}, "has no state_dict"),
    ({"state_dict": [1]}, "is damaged: its state_dict must be of type dict, got list"),
    ({"state_dict": {}, "recsys": 5}, "is damaged: its recsys must be of type dict, got int"),
    ({"state_dict": {}, "epoch": "x"}, "is damaged: its epoch must be of type int, got str"),
    ({"state_dict": {}, "epoch": 0, "global_step": -5}, "is damaged: its global_step must be at least 0, got -5"),
    ({"state_dict": {}, "random_states": "x"}, "is damaged: its random_states must be of type dict, got str"),
    ({"state_dict": {}, "CTRDataModule": "x"}, "is damaged: its CTRDataModule must be of type dict, got str"),
    ({"state_dict": {}, "lr_schedulers": None}, "is damaged: its lr_schedulers must be of type list, got NoneType"),
    ({"state_dict": {}, "loops": {}}, "is damaged: its loops do not say how far fit has come"),
    ({"state_dict": {}, "loops": {"fit_loop": 5}}, "is damaged: its loops do not say how far"),
    ([1, 2], "holds a list"),
    (
        {"state_dict": {}, "epoch": 0, "global_step": 0, "pytorch-lightning_version": "new"},
        "is damaged: its pytorch-lightning_version is 'new'",
    ),
    ({"state_dict": {}, "x": os.getcwd}, "could run code"),
    (
        {"state_dict": {}, "epoch": 0, "global_step": 0, "pytorch-lightning_version": "2", "hyper_parameters": {}},
        "does not fit this config: it lacks model.dense_weight and",
    ),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("bad") / "data")


@pytest.fixture
def said(data, tmp_path, capsys):
    """What a command says that ends with exit code 2."""

    def run(*more, name="fit", config=()):
        words = command(data, tmp_path, "--trainer.fast_dev_run=1", *map(str, more))
        with pytest.raises(SystemExit) as stop:
            main([name, *map(str, config), *words])
        error = capsys.readouterr().err
        assert stop.value.code == 2, error
        assert "error: " in error
        assert "Traceback" not in error
        return error

    return run


@pytest.mark.parametrize(("flag", "named"), [*FLAGS, *CLASSES])
def test_a_bad_flag(said, flag, named):
    assert named in said(flag)


@pytest.mark.parametrize(("flags", "named"), SETTINGS)
def test_a_bad_setting(said, flags, named):
    assert named in said(*re.split(r" (?=--)", flags))


@pytest.mark.parametrize(("line", "named"), [*COMMANDS, *ABBREVIATED])
def test_a_bad_line(capsys, line, named):
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
@pytest.mark.parametrize("word", ["best", "last", "hpc", "registry:mine"])
def test_a_word_is_no_checkpoint(said, name, word):
    """Lightning scores the random weights of a new model where it finds no last checkpoint."""
    assert f"{name}: --ckpt_path '{word}' is a word" in said(f"--ckpt_path={word}", name=name)


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_random_weights_and_a_checkpoint(said, name):
    named = f"{name}: --untrained true insists on random weights, and --ckpt_path '{__file__}' has trained ones"
    assert named in said("--untrained=true", f"--ckpt_path={__file__}", name=name)
    assert f"{name}: --ckpt_path is empty" in said("--ckpt_path=", name=name)


def test_a_task_of_sessions_on_clicks(data, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--model=NextItemTask", "--model.model=SASRec", "--data=CTRDataModule", f"--data.path={data}"])
    assert stop.value.code == 2
    named = "model NextItemTask does not read data of CTRDataModule; give data: SessionDataModule"
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(("text", "named"), FILES)
def test_a_bad_config_file(said, tmp_path, text, named):
    file = tmp_path / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    error = said(config=("-c", file))
    assert named in error
    assert (text, named) not in UNREADABLE or str(file) in error


@pytest.mark.parametrize(("text", "named"), SECTIONS)
def test_a_section_that_holds_no_keys(data, tmp_path, capsys, text, named):
    file = tmp_path / "bad.yaml"
    words = [word for word in command(data, tmp_path) if not word.startswith("--trainer")]
    file.write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(file), *words])
    assert stop.value.code == 2
    assert f"trainer must hold keys and values, {named}" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "named"), CHECKPOINTS)
@pytest.mark.parametrize("name", ["fit", "test"])
def test_a_bad_checkpoint(said, tmp_path, content, named, name):
    file = tmp_path / "bad.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    error = said(f"--ckpt_path={file}", name=name)
    assert named in error
    assert str(file) in error


def test_nothing_in_a_checkpoint_names_a_module_to_import(said, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("open('sprung', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    torch.save({"state_dict": {}, "hyper_parameters": {"_class_path": "trap.f"}}, "bad.ckpt")
    said("--ckpt_path=bad.ckpt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(28, "No space left on device", "/full/last.ckpt"), "No space left on device: '/full/last.ckpt'"),
        (PermissionError(13, "Permission denied", "/locked"), "Permission denied: '/locked'"),
        (FileNotFoundError(2, "No such file or directory", "/gone"), "No such file or directory: '/gone'"),
        (polars.exceptions.ComputeError("parquet: No space left on device (os error 28)"), "No space left on device."),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left on device."),
    ],
)
def test_what_the_system_refuses_is_one_sentence(said, monkeypatch, error, named):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(RecsysCLI, "launch", refuse)
    assert named in said()


def test_what_the_system_refuses_the_parser_of_configs_is_said(said, monkeypatch):
    def refuse(*_, **__):
        try:
            raise PermissionError(13, "Permission denied", "/data/schema.json")
        except PermissionError:
            # As jsonargparse does, which tries several types.
            raise ValueError("Does not validate against any of the Union subtypes") from None

    monkeypatch.setattr(RecsysCLI, "launch", refuse)
    assert "Permission denied: '/data/schema.json'" in said()


def test_an_error_that_is_its_own_cause_is_said(said, monkeypatch):
    def refuse(*_, **__):
        error = ValueError("rows are wrong")
        raise error from error

    monkeypatch.setattr(RecsysCLI, "launch", refuse)
    with pytest.raises(ValueError, match="rows are wrong"):
        said()


def test_a_file_that_is_no_predictions_is_named(tmp_path, capsys):
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path / "last.ckpt")])
    assert stop.value.code == 2
    assert "last.ckpt" in capsys.readouterr().err


def test_a_missing_package_names_the_extra(said, monkeypatch):
    def refuse(*_, **__):
        raise ModuleNotFoundError("No module named 'lightnink'", name="lightnink.pytorch")

    monkeypatch.setattr(RecsysCLI, "launch", refuse)
    assert "recsys fit needs lightnink, which is not installed: pip install 'recsys-tables[train]'" in said()


def test_cutoffs_beyond_any_list_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "predictions.parquet", "--ranking", "--cutoffs", "5", "1000000000"])
    assert stop.value.code == 2
    assert "--cutoffs must be at most 10000, got 1000000000" in capsys.readouterr().err


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_exit_codes_tell_how_a_run_ended(data, tmp_path, ended_by, code):
    words = command(data, tmp_path, "--trainer.max_epochs=100000", "--trainer.log_every_n_steps=1")
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "recsys", "fit", *words], stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ended(process, ended_by) == code, (tmp_path / "log.txt").read_text()[-2000:]


def ended(process, signal_number):
    """The exit code after a signal, sent again where the first came while no exception could be raised."""
    for _ in range(5):
        process.send_signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(20)
    process.kill()
    return None
