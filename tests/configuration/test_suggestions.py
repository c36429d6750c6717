"""What a mistake in the configuration of a session model is answered with."""

from pathlib import Path

import pytest
import yaml

from recsys.cli import main
from recsys.configuration.classes import own_classes
from recsys.configuration.suggestions import explain

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "beauty.yaml")
LOSS, MODEL = "--model.init_args.loss", "--model.init_args.model"


def said(capsys, *arguments):
    """What a run that stops before any data is read prints."""
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([f"{LOSS}=SampledSoftmx"], "no class 'SampledSoftmx'; did you mean 'SampledSoftmax'?\n  known: BinaryCross"),
        (
            ["--model.init_args.scoring=Cosin"],
            "no class 'Cosin'; did you mean 'Cosine'?\n  known: Cosine, DotProduct\n",
        ),
        ([f"{LOSS}=SampledSoftmax", f"{LOSS}.init_args.sampler=UniformSamper"], "did you mean 'UniformSampler'?"),
        (
            ["--trainer.callbacks={class_path: BaselineMetrics, init_args: {baselines: [{class_path: ItemKN}]}}"],
            "did you mean 'ItemKNN'?\n  known: BaseLevel, ItemKNN,",
        ),
        (
            ["--model.init_args.text=blair"],
            "'text' is no longer an argument of NextItemTask: a ContentTable projects items' vectors; give the table",
        ),
        (
            ["--model.init_args.optimizer=torch.optim.Adam", "--model.optimizer.learning_rate=1"],
            "here; did you mean 'lr'?",
        ),
        (
            ["--model.init_args.table_optimizer=RowWiseAdagrad", "--model.table_optimizer.lr=1"],
            "'lr' is not an argument here; did you mean 'learning_rate'?\n  known: learning_rate,",
        ),
        ([f"{MODEL}=SASREC"], "there is no class 'SASREC'; did you mean 'SASRec'?\n"),
        (["--max_epochs=3"], "'max_epochs' is not an argument here; did you mean --trainer.max_epochs?"),
        (["--batch_size=3"], "did you mean --data.batch_size?"),
        (["--embedding_dim=3"], "did you mean --model.embedding_dim?"),
        (["mine.yaml"], "'mine.yaml' belongs to no option; give a config as -c mine.yaml."),
        (["data/mine"], "'data/mine' belongs to no option; name the option that it is of."),
        (["-c", "qr"], "config file 'qr' does not exist; did you mean 'tables/qr'?"),
        (["-c", "/dev/null"], "config '/dev/null' is no file; give a YAML file."),
        (["--model.init_args.assign={big: item}"], "assign must be a list, got item; write [item]."),
        (["--model.init_args.scoring.init_args.temperatur=0.1"], "did you mean 'temperature'?\n  known: temperature\n"),
        (
            [f"{LOSS}=GBCE", f"{LOSS}.init_args.sampler=UniformSampler", f"{LOSS}.init_args.sampler.num_negativs=3"],
            "did you mean 'num_negatives'?",
        ),
    ],
)
def test_a_misspelt_word_is_compared_with_those_that_fit(capsys, changes, message):
    assert message in said(capsys, "-c", CONFIG, *changes)


TABLES = "--model.init_args.tables"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            f"{TABLES}={{default: {{class_path: PrunedTable, init_args: {{rows: {{a: 1}}}}}}}}",
            "model.tables.rows takes a tensor, which no config can hold; leave it out",
        ),
        (
            f"{TABLES}={{default: {{class_path: DedupTable, init_args: {{blocks: -1}}}}}}",
            "tables.blocks takes a tensor",
        ),
        (
            f"{TABLES}={{default: {{class_path: ContentTable, init_args: {{vectors: 3}}}}}}",
            "model.tables.vectors must be the name of a class, or {class_path: NAME, init_args: {...}}, got 3.",
        ),
        ("--model.init_args.lookup={a: 1}", "model.lookup must be the name of a class, or {class_path: NAME, init_ar"),
    ],
)
def test_what_is_no_class_is_answered_in_a_sentence(capsys, change, message):
    assert message in said(capsys, "-c", CONFIG, change)


@pytest.mark.parametrize(
    ("configs", "content", "message"),
    [
        ([], {"model": []}, "model must be the name of a class, or {class_path: NAME, init_args: {...}}, got []."),
        (
            [],
            {"model": {}},
            "model must name a class: {class_path: NAME, init_args: {...}}.\n  known: CTRTask, NextItemTask",
        ),
        (
            [CONFIG],
            {"model": {"init_args": {"table_optimizer": 0}}},
            "model.table_optimizer must be the name of a class",
        ),
        ([CONFIG], {"trainer": {"callbacks": True}}, "trainer.callbacks must be a list, got True.\n"),
    ],
)
def test_what_a_file_has_for_a_class(tmp_path, capsys, configs, content, message):
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(content))
    assert message in said(
        capsys, *(word for config in configs for word in ("-c", config)), "-c", f"{tmp_path}/odd.yaml"
    )


ODD_KEYS = [
    (
        {"model": {"init_args": {"embedding_d!m": 8}}},
        "'embedding_d!m' is not an argument here; did you mean 'embedding_dim'?",
    ),
    ({"model": {"init_args": {"mo'del": 8}}}, "'mo'del' is not an argument here; did you mean 'model'?"),
    (
        {"model": {"class_path": "NextItemTask", "init_a:rgs": {"max_length": 8}}},
        "'init_a:rgs' is not a key of model, which has class_path and init_args; did you",
    ),
    (
        {"data": {"class_path": "SessionDataModule", "trainer": None}},
        "'trainer' is not a key of data, which has class_path",
    ),
]


@pytest.mark.parametrize(("content", "message"), ODD_KEYS)
def test_a_key_of_odd_characters_or_at_an_odd_place(tmp_path, capsys, content, message):
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(content))
    assert message in said(capsys, "-c", CONFIG, "-c", str(tmp_path / "odd.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            f"{LOSS}.init_args.sampler=UniformSampler",
            "'sampler' belongs to BinaryCrossEntropy, GBCE, SampledSoftmax; loss is FullCrossEntropy",
        ),
        (f"{MODEL}.init_args.use_times=true", "'use_times' belongs to HSTU; model is SASRec"),
        ("--model.init_args.use_times=true", "'use_times' belongs to HSTU; model is NextItemTask"),
        (f"{MODEL}.init_args.embedding_dim=8", "'embedding_dim' of SASRec is set by what makes the SASRec; leave it"),
    ],
)
def test_a_right_word_at_the_wrong_class_names_its_own(capsys, change, message):
    assert message in said(capsys, "-c", CONFIG, change)


def test_many_classes_that_take_a_word_are_counted():
    message = explain(
        "Parser key \"model\": Problem with given class_path 'M.SumFusion': Option 'dropout' is not accepted"
    )
    assert "'dropout' belongs to BERT4Rec, DCNv2," in message
    assert message.split(";")[0].count(",") == 4
    assert " more; model is SumFusion" in message


def test_an_argument_before_any_class_asks_for_the_class(capsys):
    message = "'embedding_dim' comes before the class of model is known; put -c CONFIG or --model CLASS before it."
    assert message in said(capsys, "--model.init_args.embedding_dim=16")


@pytest.mark.parametrize("early", [["--model.init_args.embedding_dim", "16"], ["--trainer.max_epochs=3"]])
@pytest.mark.parametrize("config", [["-c", CONFIG], [f"--config={CONFIG}"]])
def test_an_override_before_the_config_is_refused(capsys, early, config):
    name = early[0].split("=")[0]
    assert f"{name} comes before the first -c, whose file would override it; put -c" in said(capsys, *early, *config)


def test_own_classes_are_those_of_this_project():
    found = own_classes()
    assert {"SampledSoftmax", "UniformSampler", "Cosine", "ItemKNN", "BaselineMetrics"} <= set(found)
    assert all(kind.__module__.startswith("recsys.") for kind in found.values())


def test_a_short_name_that_two_packages_have_is_asked_for_in_full():
    # torchrec has models of these names; which are imported is a matter of what ran before.
    message = """Parser key "model":
  - Problem with given class_path 'recsys.tasks.CTRTask':
      Parser key "model":
        - Multiple subclasses with name DLRM. Give the full class path to avoid ambiguity: torchrec.DLRM, models.DLRM.
  Given value: DLRM"""
    assert explain(message) == (
        "model: several classes are named DLRM; write one in full: torchrec.DLRM or models.DLRM."
    )
