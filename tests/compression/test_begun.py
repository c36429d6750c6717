"""What a folder of stages was begun with: other settings, other numbers and other programs are refused."""

import re
import subprocess
import sys

import pytest

from recsys.checkpoints import load
from recsys.compression.begun import claim_folder, refuse_other_generations, refuse_other_selection
from recsys.compression.evolution import Evolution, Population
from recsys.compression.stages import Stages
from recsys.tables.sizing import stored_bytes
from tests.checkpoints.words import WORDS, command, write_words
from tests.compression.stage_runs import compress, words_of


def test_other_settings_after_the_search_are_refused_and_others_of_no_matter_are_not(prepared, tmp_path):
    words, out = words_of(prepared, "pep"), tmp_path / "out"
    stages = Stages(words, out, budget_fraction="20%")
    stages.run(["search"])
    stages.check()
    Stages([*words, "--data.init_args.num_threads=3", "--trainer.enable_model_summary=false"], out, "9kB").check()
    said = (
        r"out/search' was done with other settings: seed_everything: \d+ before, 41 now; model\S+: .* now; give another"
    )
    more = ["--seed_everything=41", "--model.init_args.optimizer.init_args.lr=0.5"]
    with pytest.raises(ValueError, match=said):
        Stages([*words, *more], out, budget_fraction="20%").check()
    (out / "search" / "done.json").unlink()
    (out / "search" / "model.ckpt").unlink()
    with pytest.raises(ValueError, match=said.replace("done", "begun")):
        Stages([*words, *more], out, budget_fraction="20%").check()


def test_other_data_after_the_search_are_refused_by_what_their_ids_stand_for(tmp_path):
    data, other = write_words(tmp_path / "data"), write_words(tmp_path / "other", WORDS[::-1])
    words = [*command(data, tmp_path), "--model.tables={default: PEPTable}", "--trainer.logger=false"]
    out = tmp_path / "out"
    Stages(words, out, budget_fraction="50%").run(["search"])
    with pytest.raises(ValueError, match=r"the ids of 'word' stand for other values.* or give another OUT"):
        Stages([*words, f"--data.path={other}"], out, budget_fraction="50%").check()


def test_a_selection_keeps_what_it_was_asked_for(tmp_path):
    refuse_other_selection(tmp_path, {"budget_bytes": "9kB"})
    refuse_other_selection(tmp_path, {"budget_bytes": "9kB"})
    refuse_other_selection(tmp_path, {"budget_bytes": "9000", "budget_fraction": None})
    with pytest.raises(
        ValueError, match="begun with --budget_bytes 9kB, and this asks for --budget_bytes 8kB --seed 1;"
    ):
        refuse_other_selection(tmp_path, {"budget_bytes": "8kB", "budget_fraction": None, "seed": 1})


def test_a_budget_is_the_same_however_it_is_written(tmp_path):
    refuse_other_selection(tmp_path, {"budget_bytes": None, "budget_fraction": "30%", "precision": "int8"})
    refuse_other_selection(tmp_path, {"budget_bytes": None, "budget_fraction": "0.3", "precision": "int8"})
    with pytest.raises(ValueError, match="begun with --budget_fraction 30% --row_precision int8, and this asks for"):
        refuse_other_selection(tmp_path, {"budget_bytes": None, "budget_fraction": "0.3"})


def test_what_is_trained_again_is_served_as_it_was_selected(tmp_path):
    selection = tmp_path / "selection"
    selection.mkdir()
    (selection / "model.ckpt").touch()
    refuse_other_selection(selection, {"budget_fraction": "20%", "seed": 0, "precision": "int4"})
    said = "begun with --budget_fraction 20% --seed 0 --row_precision int4, and this asks for --budget_fraction 20% "
    with pytest.raises(ValueError, match=said):
        Stages([], tmp_path, budget_fraction="20%").run(["retrain"])


def test_other_generations_of_a_search_that_has_ended_are_refused(tmp_path):
    population = Population({(0,): 0.5}, 2, [0.5, 0.5, 0.5])
    refuse_other_generations(tmp_path, population, Evolution(num_iterations=2))
    refuse_other_generations(tmp_path, Population(), Evolution(num_iterations=9))
    with pytest.raises(ValueError, match="done with --generations 2, and this asks for 3"):
        refuse_other_generations(tmp_path, population, Evolution(num_iterations=3))


def test_one_program_at_a_time_works_in_a_folder(prepared, tmp_path, capsys):
    holder = "import sys, pathlib, recsys.compression.begun as b; b.claim_folder(pathlib.Path(sys.argv[1])); print(1)"
    program = subprocess.Popen(
        [sys.executable, "-c", f"{holder}; sys.stdout.flush(); sys.stdin.read()", str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    program.stdout.readline()
    words = [*words_of(prepared, "pep"), "--budget_fraction", "20%"]
    assert compress(tmp_path / "out", *words) == 2
    assert "another run is compressing into" in capsys.readouterr().err
    program.kill()
    program.wait()
    claim_folder(tmp_path / "out")


def test_stages_of_several_processes_are_refused(prepared, tmp_path, capsys):
    words = [*words_of(prepared, "pep"), "--budget_fraction", "20%"]
    asked = ["--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.strategy=torchrec"]
    assert compress(tmp_path / "out", *words, *asked) == 2
    assert "stages run in one process, got 2; give --trainer.devices=1" in capsys.readouterr().err


def test_a_folder_of_counts_that_is_none_is_refused_before_training(prepared, tmp_path, capsys):
    words = [*words_of(prepared, "pep"), "--budget_fraction", "20%", "--counts", str(tmp_path / "none")]
    assert compress(tmp_path / "out", *words) == 2
    assert "is no folder of counts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["optembed", "pep"])
def test_a_budget_that_nothing_fits_is_refused_before_training_and_the_one_it_names_is_met(
    kind, prepared, tmp_path, capsys
):
    words, out = words_of(prepared, kind), tmp_path / "out"
    assert compress(out, *words, "--budget_bytes", "1", "--generations", "1") == 2
    smallest = re.search(r"the smallest budget that can is (\d+) bytes", capsys.readouterr().err).group(1)
    assert not out.exists()
    assert compress(out, *words, "--budget_bytes", smallest, "--generations", "1", "--stage", "search") == 0
    stages = Stages(words, out, smallest, evolution=Evolution(num_iterations=1))
    stages.selection()
    collection = load(out / "selection" / "model.ckpt")
    tables = {feature.table: collection.table(feature.table) for feature in collection.features}
    assert stored_bytes(tables) == int(smallest)
