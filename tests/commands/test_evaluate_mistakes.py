"""Every mistake is named, and gives no number."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands.evaluations import run


def change(column, row, value):
    def apply(rows):
        values = rows[column].astype(object)
        values[row] = value
        return rows | {column: pa.array(values.tolist())}

    return apply


@pytest.mark.parametrize(
    ("mistake", "words", "message"),
    [
        (change("score", 17, float("nan")), [], "column 'score', row 17: values must be numbers, got nan"),
        (change("score", 5, None), [], "column 'score', row 5: the value is missing"),
        (change("score", 9, 1.5), [], "column 'score', row 9: probabilities must be in [0, 1]"),
        (change("label", 3, 2), [], "column 'label', row 3: labels must be 0 or 1, got 2"),
        (change("user", 2, -1), ["--weight", "user"], "column 'user', row 2: weights must be at least 0, got -1"),
        (lambda rows: rows | {"label": rows["label"] * 0}, [], "all 3,000 rows have label 0"),
        (lambda rows: rows, ["--score", "scor"], "no column 'scor'; did you mean 'score'?"),
        (lambda rows: rows, ["--slice", "devices"], "no column 'devices'; did you mean 'device'?"),
        (lambda rows: {"label": [], "score": []}, [], "the file has no rows"),
        (lambda rows: rows | {"score": rows["device"]}, [], "column 'score': must be numbers, got string"),
        (lambda rows: rows, ["--frequency", "item"], "must be COLUMN=COUNTS.parquet"),
        (lambda rows: rows, ["--frequency", "item=no.parquet"], "no.parquet: the file of counts does not exist"),
        (lambda rows: rows, ["--ranking"], "--ranking needs --group"),
        (lambda rows: rows, ["--memory", "1e-5", "--group", "user"], "streamed rows allow no --group"),
        (lambda rows: rows, ["--confidence", "95"], "confidence must be in (0, 1), got 95.0"),
        (lambda rows: rows, ["--confidence", "nan"], "confidence must be in (0, 1), got nan"),
        (lambda rows: rows, ["--memory", "nan"], "--memory must be in [1e-06, 1e+09] GiB, got nan"),
        (lambda rows: rows, ["--memory", "0"], "--memory must be in [1e-06, 1e+09] GiB, got 0.0"),
        (lambda rows: rows, ["--memory", "1e300"], "--memory must be in [1e-06, 1e+09] GiB, got 1e+300"),
        (lambda rows: rows, ["--memory", "1e-5", "--weight", "user"], "streamed rows allow no --weight"),
        (lambda rows: rows, ["--score", "label"], "--label and --score are both column 'label'; give --score a column"),
        (lambda rows: rows, ["--weight", "score"], "--score and --weight are both column 'score'"),
        (lambda rows: rows, ["--group", "label"], "--label and --group are both column 'label'"),
        (lambda rows: rows, ["--ranking", "--group", "user", "--logits"], "leave out --logits"),
        (lambda rows: rows, ["--cutoffs", "5"], "--cutoffs 5: only with --ranking"),
        (lambda rows: rows, ["--ranking", "--group", "user", "--cutoffs", "0"], "cutoffs must be at least 1"),
        (lambda rows: rows, ["--ranking", "--group", "user", "--slice", "device"], "allows no --slice"),
        (
            lambda rows: rows,
            ["--ranking", "--group", "user", "--weight", "time"],
            "the query of row 0 has rows of weight",
        ),
        (lambda rows: rows, ["--grop", "user"], "--grop user: only with --ckpt_path; did you mean --group?"),
        (lambda rows: rows, ["--data.path", "data"], "--data.path data: only with --ckpt_path"),
        (lambda rows: rows, ["--key", "time"], "--key time: joins the rows of --against, which is missing"),
        (lambda rows: rows, ["--time", "device"], "p.parquet: column 'device': times must all be numbers"),
        (lambda rows: rows, ["--time", "time", "--slice", "time"], "cut by 'time' twice"),
        (lambda rows: rows, ["--slice", ""], "--slice must name a column, got ''"),
        (lambda rows: rows, ["--group", ""], "--group must name a column, got ''"),
        (lambda rows: rows | {"logit": rows["score"]}, [], "has columns 'score' and 'logit'; choose by --score"),
        (lambda rows: rows | {"user": [[1]] * 3_000}, ["--group", "user"], "column 'user': holds list"),
        (lambda rows: rows | {"item": rows["item"] + 2.0**60}, ["--slice", "item"], "a float of 2**53 or more"),
        (
            change("time", 4, float("inf")),
            ["--weight", "time"],
            "column 'time', row 4: weights must be finite, got inf",
        ),
        (lambda rows: rows | {"w": rows["time"] * 0}, ["--weight", "w"], "weigh 0 in all"),
        (lambda rows: rows | {"w": rows["label"]}, ["--weight", "w"], "the rows of one label weigh 0 in all"),
        (lambda rows: {"target": [1], "rank": [2]}, [], "rows have targets of sessions and no labels; give --ranking"),
    ],
)
def test_a_mistake_is_named_and_gives_no_number(rows, tmp_path, capsys, mistake, words, message):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table(mistake(rows)), path)
    assert run(path, *words, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_broken_files_are_named(predictions, tmp_path, capsys):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(predictions.read_bytes()[:-200])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "torn.csv").write_text("label,score\n1,0.5\n0\n")
    for path, message in (
        (broken, "broken.parquet: cannot be read as parquet"),
        (tmp_path / "empty.csv", "empty.csv: the file is empty"),
        (tmp_path / "torn.csv", "torn.csv: cannot be read"),
        (tmp_path / "none.parquet", "none.parquet: the file does not exist"),
        (tmp_path, "a folder must hold parts of one kind"),
    ):
        assert run(path) == 2
        assert message in capsys.readouterr().err
