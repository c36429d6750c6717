"""Search, selection and training again: what each leaves, what is not repeated, a compact model like the masked one."""

import json
import shutil

import pytest
import torch
from torch.testing import assert_close

from recsys.checkpoints import load
from recsys.checkpoints.file import write
from recsys.checkpoints.reading import read
from recsys.compression.evolution import Evolution
from recsys.compression.fitness import Fitness
from recsys.compression.model import collection_of
from recsys.compression.probe import first_batches
from recsys.compression.quality import quality_of
from recsys.compression.selection import Searched, selected_entries, selected_rows
from recsys.compression.stages import STAGES, Stages
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.description.vectors import vectors_of
from recsys.evaluation import auc
from recsys.tables import CompactTable, FullTable, SparseTable
from recsys.tables.sizing import stored_bytes
from tests.compression.stage_runs import compress, words_of


@pytest.fixture(scope="module", params=["optembed", "pep"])
def compressed(request, prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("stages") / request.param
    words = words_of(prepared, request.param)
    assert compress(out, *words, "--budget_fraction", "20%", "--generations", "2") == 0
    return request.param, out, words


def test_the_compact_model_keeps_the_budget_and_is_read_by_others(compressed, tmp_path):
    kind, out, _ = compressed
    collection = load(out / "model.ckpt")
    tables = {feature.table: collection.table(feature.table) for feature in collection.features}
    full = sum(table.logical_bytes() for table in tables.values())
    assert stored_bytes(tables) <= int(0.2 * full)
    assert stored_bytes(tables) > 0.15 * full
    assert type(tables["C1"]) is FullTable
    assert type(tables["C3"]) is (CompactTable if kind == "optembed" else SparseTable)
    cli = RecsysCLI.launch(
        ["test", "-c", str(out / "config.yaml"), f"--ckpt_path={out / 'model.ckpt'}",
         f"--trainer.default_root_dir={tmp_path}"]
    )  # fmt: skip
    report = json.loads((out / "stages.json").read_text())
    found = report["compared"]["test"]["auc"]["second"]
    assert float(cli.trainer.callback_metrics["test/auc"]) == pytest.approx(found, abs=1e-9)
    assert report["num_bytes"] == stored_bytes(tables)
    content = read(out / "model.ckpt")
    assert not {"optimizer_states", "loops", "callbacks"} & set(content), "a run of its own begins with it"
    pictures = {path.name for path in out.glob("*.png")}
    assert {"values_kept_by_frequency.png", "values_kept_by_table.png"} <= pictures
    assert ("auc_along_the_search.png" in pictures) == (kind == "optembed")


def test_training_began_with_the_values_that_the_search_began_with(compressed):
    _, out, words = compressed
    cli = RecsysCLI.launch(words, run=False)
    cli.model.configure_model()
    begun = cli.model.state_dict()
    selected = load(out / "selection" / "model.ckpt")
    state = read(out / "selection" / "model.ckpt")["state_dict"]
    for name, value in state.items():
        if name.startswith("model."):
            assert torch.equal(value, begun[name]), name
    for name in ("C2", "C3"):
        ids = torch.arange(selected.table(name).num_embeddings)
        kept = vectors_of(selected, name, ids)
        initial = begun[f"collection.lookup.{name}.weight"]
        assert int((kept != 0).sum()) > 0
        assert_close(kept[kept != 0], initial[kept != 0])


def test_what_was_selected_is_tested_as_it_is(compressed, tmp_path):
    """It is what is published where training on validates worse."""
    _, out, _ = compressed
    selected = out / "selection"
    command = ["test", "-c", str(selected / "config.yaml"), f"--ckpt_path={selected / 'model.ckpt'}"]
    cli = RecsysCLI.launch([*command, "--trainer.logger=false", f"--trainer.default_root_dir={tmp_path}"])
    assert 0 <= float(cli.trainer.callback_metrics["test/auc"]) <= 1


def test_what_is_done_is_not_done_again(compressed, monkeypatch, capsys):
    _, out, words = compressed
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/model.ckpt")}
    assert len(before) == 3
    monkeypatch.setattr("lightning.pytorch.Trainer.fit", lambda *_, **__: pytest.fail("it trains again"))
    assert compress(out, *words, "--budget_fraction", "20%", "--generations", "2") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_budget_in_the_same_folder_is_refused(compressed, capsys):
    _, out, words = compressed
    assert compress(out, *words, "--budget_fraction", "30%") == 2
    assert "was begun with" in capsys.readouterr().err


def test_a_folder_says_what_was_done_before_and_its_report_is_of_the_rows_that_the_command_names(
    compressed, prepared, tmp_path, capsys
):
    _, out, words = compressed
    data, again = tmp_path / "data", tmp_path / "again"
    shutil.copytree(prepared, data)
    shutil.rmtree(data / "test")
    shutil.copytree(data / "val", data / "test")
    shutil.copytree(out, again)
    options = [f"--data.init_args.path={data}", "--budget_fraction", "20%", "--generations", "2"]
    assert compress(again, *words, *options) == 0
    said = capsys.readouterr().out
    assert all(f"{stage}: done before" in said for stage in STAGES)
    found = json.loads((again / "stages.json").read_text())["compared"]
    assert found["test"] == found["val"]
    assert found["val"] == json.loads((out / "stages.json").read_text())["compared"]["val"]


def test_training_again_does_what_the_command_asks_for_now(compressed, tmp_path):
    _, out, words = compressed
    again = tmp_path / "again"
    for stage in ("search", "selection"):
        shutil.copytree(out / stage, again / stage)
    Stages([*words, "--trainer.max_epochs=1"], again, budget_fraction="20%").run(["retrain"])
    assert json.loads((again / "retrain" / "done.json").read_text())["epochs"] == 1


def searched_task(out, words):
    cli = RecsysCLI.launch(words, run=False)
    cli.model.configure_model()
    cli.model.load_state_dict(read(out / "search" / "model.ckpt")["state_dict"])
    cli.datamodule.setup("validate")
    return cli.model.eval(), first_batches(cli.datamodule.val_dataloader(), 1 << 20, torch.device("cpu"))


def test_the_compact_model_is_the_masked_one(compressed):
    """With the weights of the search: to 1e-6 in every logit, and the very AUC that the search for widths saw."""
    kind, out, words = compressed
    task, batches = searched_task(out, words)
    searched = Searched.of(task.collection)
    names = [*searched.rows, *searched.entries]
    budget = 30_000
    widths = dict.fromkeys(searched.rows, 8)
    offset = searched.offset(widths, 16, budget)
    before = task.collection
    full = {name: before.lookup.weight(name).detach().clone() for name in names}
    found, masked = {}, {}
    for name in dict.fromkeys(feature.table for feature in before.features):
        if name in searched.rows:
            kept = searched.rows[name] > offset
            found[name] = selected_rows(name, full[name], kept, 8)
            masked[name] = full[name] * kept.unsqueeze(1) * (torch.arange(16) < 8)
        elif name in searched.entries:
            kept = searched.entries[name] > offset
            found[name] = selected_entries(name, full[name], kept)
            masked[name] = full[name] * kept
        else:
            found[name] = (before.table(name), {name: before.lookup.weight(name).detach()})
    assert stored_bytes({name: table for name, (table, _) in found.items()}) <= budget
    task.collection = collection_of(task, found)
    with torch.no_grad():
        compact = [task(batch) for batch in batches]
        for name, values in masked.items():
            assert_close(vectors_of(task.collection, name, torch.arange(len(values))), values, rtol=1e-6, atol=1e-6)
    task.collection = before
    if kind == "optembed":
        fitness = Fitness(task, searched, batches, [4, 8, 16], budget)
        labels = torch.cat([batch.labels for batch in batches])
        expected = auc(labels.numpy(), torch.cat(compact).numpy())
        assert fitness((1,) * len(searched.rows)) == pytest.approx(expected, abs=1e-4)
        assert all(torch.equal(before.lookup.weight(name), full[name]) for name in names)
        state = read(out / "search" / "model.ckpt")["state_dict"]
        assert [before.table(name).threshold.item() for name in names] == pytest.approx(
            [state[f"collection.tables.{name}.threshold"].item() for name in names]
        )


def test_training_again_can_begin_with_what_the_search_has_learned(compressed, tmp_path):
    """What is kept is what the searched model gives, and so is the dense part."""
    _, out, words = compressed
    again = tmp_path / "again"
    shutil.copytree(out / "search", again / "search")
    stages = Stages(words, again, budget_fraction="20%", evolution=Evolution(num_iterations=1), start="searched")
    stages.run(["selection"])
    task, _ = searched_task(again, words)
    selected, state = load(again / "selection" / "model.ckpt"), read(again / "selection" / "model.ckpt")["state_dict"]
    for name, value in task.model.state_dict().items():
        assert torch.equal(state[f"model.{name}"], value), name
    for name in ("C2", "C3"):
        ids = torch.arange(selected.table(name).num_embeddings)
        kept, learned = (vectors_of(each, name, ids) for each in (selected, task.collection))
        assert int((kept != 0).sum()) > 0
        assert_close(kept[kept != 0], learned[kept != 0])
    with pytest.raises(ValueError, match="was begun with"):
        Stages(words, again, budget_fraction="20%").run(["selection"])


def test_with_a_learned_start_what_validates_better_is_published(compressed, tmp_path, monkeypatch):
    _, out, words = compressed
    again = tmp_path / "again"
    shutil.copytree(out / "search", again / "search")
    stages = Stages(words, again, budget_fraction="20%", evolution=Evolution(num_iterations=1), start="searched")
    stages.run(["selection"])

    def turned_over(command, folder, state):
        """All logits with the other sign: one of the two models is above an AUC of a half, the other below."""
        content = read(again / "selection" / "model.ckpt")
        content["state_dict"] = {name: -value if "output" in name else value for name, value in state.items()}
        write(folder / "model.ckpt", content)

    monkeypatch.setattr("recsys.compression.stages.fit", turned_over)
    stages.run(["retrain"])
    cli = RecsysCLI.launch(["-c", str(again / "selection" / "config.yaml")], run=False)
    cli.model.configure_model()
    quality, found = quality_of(cli.model.eval()), {}
    for stage in ("selection", "retrain"):
        cli.model.load_state_dict(read(again / stage / "model.ckpt")["state_dict"])
        found[stage] = quality.value(quality.of_split(cli.datamodule, "val"))
    assert found["selection"] == pytest.approx(1 - found["retrain"], abs=1e-6)
    better, worse = sorted(found, key=found.get, reverse=True)
    states = {stage: read(again / stage / "model.ckpt")["state_dict"] for stage in (better, worse, "")}
    assert all(torch.equal(states[""][name], value) for name, value in states[better].items())
    assert not all(torch.equal(states[""][name], value) for name, value in states[worse].items())


def test_a_selection_that_was_stopped_goes_on(compressed, tmp_path):
    kind, out, words = compressed
    if kind != "optembed":
        pytest.skip("nothing to evolve")
    again = tmp_path / "again"
    shutil.copytree(out / "search", again / "search")
    said = []
    arguments = {"budget_fraction": "20%", "say": said.append}
    Stages(words, again, evolution=Evolution(num_iterations=1), **arguments).run(["selection"])
    (again / "selection" / "model.ckpt").unlink()
    Stages(words, again, evolution=Evolution(num_iterations=2), **arguments).run(["selection"])
    assert [line.split(",")[0] for line in said] == [
        f"selection: generation {n} of {m}" for n, m in ((0, 1), (1, 1), (2, 2))
    ]
    first, second = ((path / "selection" / "evolution.json").read_text() for path in (out, again))
    assert first == second


def test_widths_are_searched_in_the_steps_that_are_asked_for(compressed, tmp_path):
    kind, out, words = compressed
    if kind != "optembed":
        pytest.skip("no widths")
    again = tmp_path / "again"
    shutil.copytree(out / "search", again / "search")
    stages = Stages(words, again, budget_fraction="5%", evolution=Evolution(num_iterations=1), width_step=1)
    stages.run(["selection"])
    places = [
        place
        for each, _ in json.loads((again / "selection" / "evolution.json").read_text())["fitness"]
        for place in each
    ]
    assert set(places) == set(range(16)), "all widths from 1 to 16 are tried"
    widths = json.loads((again / "selection" / "selected.json").read_text())["widths"]
    tables = load(again / "selection" / "model.ckpt")
    assert all(tables.table(name).row_dims in ((width,), ()) for name, width in widths.items())
    with pytest.raises(ValueError, match="--width_step must be at least 1, got 0"):
        Stages(words, again, budget_fraction="5%", width_step=0).check()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rows_in_codes_have_more_columns_in_the_same_bytes_and_predict_alike(compressed, tmp_path, capsys, precision):
    kind, out, words = compressed
    if kind != "optembed":
        said = rf"--row_precision {precision} is for tables that select rows, and PEPTable '\w+' selects values"
        with pytest.raises(ValueError, match=said):
            Stages(words, out, budget_fraction="20%", precision=precision).check()
        return
    again = tmp_path / "again"
    shutil.copytree(out / "search", again / "search")
    asked = ["--budget_fraction", "20%", "--generations", "2"]
    assert compress(again, *words, *asked, "--row_precision", precision) == 0
    trained, served = load(again / "retrain" / "model.ckpt"), load(again / "model.ckpt")
    tables = {feature.table: served.table(feature.table) for feature in served.features}
    budget = int(0.2 * sum(table.logical_bytes() for table in tables.values()))
    assert 0.7 * budget < stored_bytes(tables) <= budget
    values = {
        folder: sum(value.numel() for name, value in read(folder / "model.ckpt")["state_dict"].items() if "C3" in name)
        for folder in (out / "retrain", again / "retrain")
    }
    assert values[again / "retrain"] > {"int8": 1.5, "int4": 2}[precision] * values[out / "retrain"]
    for name, table in tables.items():
        ids = torch.arange(table.num_embeddings)
        before, after = (vectors_of(each, name, ids) for each in (trained, served))
        bound = torch.zeros(16)
        if isinstance(table, CompactTable):
            bound = before.abs().amax(0) / 127 if precision == "int8" else before.abs().amax(1, keepdim=True) / 2
        assert bool(((after - before).abs() <= bound + 1e-7).all()), name
        assert (after - before).norm() <= 0.15 * before.norm() + 1e-7, name
    report = json.loads((again / "stages.json").read_text())
    assert report["num_bytes"] == stored_bytes(tables)
    with pytest.raises(ValueError, match="was begun with"):
        Stages(words, again, budget_fraction="20%").run(["selection"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sweep", "10%"], "give --budget_bytes or --budget_fraction"),
        (["--budget_fraction", "10%", "--method", "svd"], "--method is for compression of a checkpoint"),
        (["--budget_fraction", "10%", "--stage", "searching"], "invalid choice"),
    ],
)
def test_words_that_do_not_fit_stages_are_refused(words, said, tmp_path, capsys):
    assert compress(tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err


def test_tables_that_do_not_search_are_refused_before_training(prepared, tmp_path, capsys):
    assert compress(tmp_path / "out", *words_of(prepared, "full"), "--budget_fraction", "10%") == 2
    assert "no table of the config searches (FullTable)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stage_before_is_needed(prepared, tmp_path, capsys):
    words = [*words_of(prepared, "optembed"), "--budget_fraction", "10%", "--stage", "retrain"]
    assert compress(tmp_path / "out", *words) == 2
    assert "stage 'selection' is not done" in capsys.readouterr().err
