"""Codes of items: what each method promises, and that nothing published moves."""

import numpy as np
import polars as pl
import pytest

from recsys.prepare.programs.semantic_ids import main
from recsys.prepare.semantic.codes import Codes, read_codes
from recsys.prepare.semantic.measures import shared_prefixes, use_of
from recsys.prepare.semantic.published import read_published

WORDS = ["space", "robot", "alien", "love", "paris", "wedding", "murder", "police", "night"]


@pytest.fixture
def items(tmp_path):
    """90 items in three kinds, with texts, vectors and categories; the last has no content at all."""
    rng = np.random.default_rng(0)
    kinds = np.arange(90) % 3
    centres = rng.standard_normal((3, 6)) * 5
    vectors = centres[kinds] + rng.standard_normal((90, 6))
    texts = [" ".join(rng.choice(WORDS[3 * kind : 3 * kind + 3], 4)) for kind in kinds]
    frame = pl.DataFrame(
        {
            "sku": [f"i{n:02}" for n in range(90)],
            "emb": [None if n == 89 else vectors[n].tolist() for n in range(90)],
            "plot": [None if n == 89 else texts[n] for n in range(90)],
            "kind": [None if n == 89 else f"kind {kind}" for n, kind in enumerate(kinds)],
            "price": [None if n == 89 else float(n) for n in range(90)],
        }
    )
    path = tmp_path / "items.parquet"
    frame.write_parquet(path)
    return path


def run(items, out, *words):
    main(["--items", str(items), "--item", "sku", "--out", str(out), *map(str, words)])
    return read_published(out)


def codes_by_item(codes):
    return dict(zip(codes.items.to_list(), codes.values.tolist(), strict=True))


def test_residual_kmeans_separates_kinds_and_takes_the_nearest_centre(items, tmp_path):
    made = run(items, tmp_path / "a", "--vectors", "emb", "--levels", 2, "--codes", 3)
    first = made.codes.values[:89, 0].reshape(-1)
    assert len({tuple(set(first[kind::3])) for kind in range(3)}) == 3
    assert made.codes.values[89].tolist() == [-1, -1]
    vectors = np.array(pl.read_parquet(items)["emb"][:89].to_list())
    left = vectors - made.arrays["mean"]
    for level, centres in enumerate(made.arrays["centres"].astype(np.float64)):
        distances = ((left[:, None] - centres) ** 2).sum(-1)
        assert np.array_equal(distances.argmin(1), made.codes.values[:89, level])
        left -= centres[made.codes.values[:89, level]]
    spread = ((vectors - vectors.mean(0)) ** 2).sum()
    assert made.reconstruction_error == pytest.approx((left**2).sum() / spread, rel=1e-3)


@pytest.mark.parametrize("content", [["--vectors", "emb"], ["--text", "plot", "--text-dim", "5"]])
def test_the_seed_decides(items, tmp_path, content):
    made = [run(items, tmp_path / f"{n}", *content, "--codes", 8, "--seed", seed) for n, seed in enumerate((1, 1, 2))]
    assert made[0].codes.fingerprint() == made[1].codes.fingerprint() != made[2].codes.fingerprint()


@pytest.mark.parametrize(
    "options",
    [
        ["--vectors", "emb", "--codes", "8"],
        ["--text", "plot", "--text-dim", "5", "--codes", "8"],
        ["--method", "category-prefix", "--categories", "kind", "price"],
    ],
)
def test_new_items_get_codes_and_none_that_is_published_moves(items, tmp_path, options):
    frame = pl.read_parquet(items)
    old_items, new_items = tmp_path / "old.parquet", tmp_path / "new.parquet"
    frame[:60].write_parquet(old_items)
    # What is known of an old item changes as well, and the order of rows.
    changed = frame.with_columns(plot=pl.lit("love paris"), price=pl.lit(1.0), emb=frame["emb"].reverse())[:5]
    extra = frame[60:].with_columns(kind=pl.lit("a kind never seen"))
    pl.concat([extra.reverse(), changed]).write_parquet(new_items)
    old = run(old_items, tmp_path / "old", *options)
    new = run(new_items, tmp_path / "new", "--extend", tmp_path / "old")
    before, after = codes_by_item(old.codes), codes_by_item(new.codes)
    assert len(after) == 90
    assert {item: after[item] for item in before} == before
    assert new.codes.num_codes == old.codes.num_codes
    assert after["i89"][0] == -1 or options[0] == "--method"
    whole = run(new_items, tmp_path / "again", "--extend", tmp_path / "new")
    assert codes_by_item(whole.codes) == after


def test_an_extended_item_has_the_codes_that_it_would_have_had(items, tmp_path):
    made = run(items, tmp_path / "all", "--vectors", "emb", "--codes", 8)
    other = tmp_path / "other.parquet"
    pl.read_parquet(items).with_columns(sku="x" + pl.col("sku")).write_parquet(other)
    after = codes_by_item(run(other, tmp_path / "more", "--extend", tmp_path / "all").codes)
    assert all(after["x" + item] == codes for item, codes in codes_by_item(made.codes).items())


def test_vectors_of_texts_come_with_the_codes(items, tmp_path):
    made = run(items, tmp_path / "t", "--text", "plot", "--text-dim", 5, "--codes", 4)
    frame = pl.read_parquet(tmp_path / "t" / "vectors.parquet")
    assert frame["item"].to_list() == made.codes.items.filter(pl.Series(made.codes.has_codes)).to_list()
    assert np.allclose(np.linalg.norm(np.array(frame["vector"].to_list()), axis=1), 1, atol=1e-5)
    run(items, tmp_path / "v", "--vectors", "emb", "--codes", 4)
    assert not (tmp_path / "v" / "vectors.parquet").exists()


def test_category_codes_are_the_categories(items, tmp_path):
    made = run(items, tmp_path / "c", "--method", "category-prefix", "--categories", "kind", "price", "--bins", 4)
    frame = pl.read_parquet(items).with_columns(
        code0=pl.Series(made.codes.values[:, 0]), code1=pl.Series(made.codes.values[:, 1])
    )[:89]
    assert frame.group_by("kind").agg(pl.col("code0").n_unique())["code0"].to_list() == [1, 1, 1]
    assert frame["code0"].n_unique() == 3
    assert frame["code1"].is_sorted()
    assert frame["code1"].value_counts()["count"].is_between(21, 23).all()


def test_categories_that_are_lists_do_not_depend_on_their_order(tmp_path):
    path = tmp_path / "items.parquet"
    pl.DataFrame({"sku": [1, 2, 3], "tags": [["a", "b"], ["b", "a"], []]}).write_parquet(path)
    values = run(path, tmp_path / "c", "--method", "category-prefix", "--categories", "tags").codes.values
    assert values[:, 0].tolist() == [1, 1, -1]


def test_controls(items, tmp_path):
    drawn = run(items, tmp_path / "r", "--method", "random", "--levels", 3, "--codes", 5)
    assert drawn.codes.values.shape == (90, 3)
    made = run(items, tmp_path / "k", "--vectors", "emb", "--codes", 8)
    main(["--method", "shuffled", "--from", str(tmp_path / "k"), "--out", str(tmp_path / "s")])
    dealt = read_published(tmp_path / "s").codes
    assert sorted(dealt.values.tolist()) == sorted(made.codes.values.tolist())
    assert not np.array_equal(dealt.values, made.codes.values)
    assert dealt.values[89, 0] == -1


def test_a_file_that_was_changed_is_refused(items, tmp_path):
    made = run(items, tmp_path / "k", "--vectors", "emb", "--codes", 8)
    path = tmp_path / "k" / "codes.parquet"
    moved = Codes(made.codes.items, np.roll(made.codes.values, 1, axis=0), made.codes.num_codes)
    moved.write(path)
    with pytest.raises(ValueError, match="not the one"):
        read_published(tmp_path / "k")


def test_published_codes_of_others_load_as_they_are(tmp_path):
    path = tmp_path / "published.parquet"
    columns = {f"code{level}": pl.Series([level, 11, 2], dtype=pl.Int16) for level in range(12)}
    pl.DataFrame({"item": [7, 8, 9], **columns}).write_parquet(path)
    codes = read_codes(path)
    assert codes.values[0].tolist() == list(range(12)), "code10 follows code9"
    assert (codes.num_levels, codes.num_codes) == (12, 12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vectors", "emb", "--text", "plot"], "either --vectors"),
        (["--vectors", "emb", "--codes", "100"], "100 centres need"),
        (["--vectors", "kind"], "must hold lists"),
        (["--vectors", "embb"], "no column 'embb'"),
        (["--text", "plot", "--text-dim", "50"], r"--text-dim must be in \[1, 8\]"),
        (["--method", "category-prefix", "--categories", "kind", "--codes", "3"], "has 3 categories"),
        (["--method", "category-prefix", "--categories", "kind", "kind"], "--categories: 'kind' is named twice"),
        (["--method", "random", "--text", "plot"], "--text does nothing"),
        (["--vectors", "emb", "--counts", "x"], "--counts does nothing"),
        (["--vectors", "emb", "--levels", "0"], r"--levels must be in \[1, 255\], got 0"),
    ],
)
def test_mistakes_are_named(items, tmp_path, words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        run(items, tmp_path / "out", *words)
    assert __import__("re").search(said, str(ended.value))
    assert not (tmp_path / "out").exists()


def test_measures_of_codes_equal_their_definitions():
    values = np.array([[0, 0], [0, 0], [0, 1], [1, 1], [-1, -1]])
    use = use_of(Codes(pl.Series(list("abcde")), values, 4))
    first, second = use.levels
    assert (first.used, first.dead, first.num_prefixes, first.alone_fraction) == (2, 2, 2, 0.25)
    assert first.perplexity == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    differences = np.abs(np.subtract.outer([3, 1, 0, 0], [3, 1, 0, 0])).sum()
    assert first.gini == pytest.approx(differences / (2 * 4 * 4))
    assert (second.num_prefixes, second.alone_fraction) == (3, 0.5)
    assert (use.num_without, use.aliased_items, use.largest_alias) == (1, 2, 2)
    assert shared_prefixes(Codes(pl.Series(list("abcde")), values, 4), 0, 3, 2) == [("0", ["a", "b"])]


def test_codes_that_say_two_things_are_refused():
    with pytest.raises(ValueError, match="'a' is there twice"):
        Codes(pl.Series(["a", "a"]), np.zeros((2, 1), np.int64), 2)
    with pytest.raises(ValueError, match="after a missing one"):
        Codes(pl.Series(["a", "b"]), np.array([[0, 0], [-1, 1]]), 2)
    with pytest.raises(ValueError, match=r"must be in \[0, 2\)"):
        Codes(pl.Series(["a"]), np.array([[2]]), 2)
    with pytest.raises(ValueError, match="codes: must be whole numbers, got float64"):
        Codes(pl.Series(["a"]), np.array([[0.5]]), 2)
    with pytest.raises(ValueError, match="Codes: items must be Series, got "):
        Codes(["a"], np.array([[0]]), 2)
    with pytest.raises(ValueError, match=r"read_codes: path must be Path, got 'codes\.parquet'"):
        read_codes("codes.parquet")
