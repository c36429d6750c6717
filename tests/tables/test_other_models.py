"""Tables in models of other packages, where these are installed: trained, saved and loaded."""

import re
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from recsys.tables import Embedding, FullTable, HashTable, QRTable, SwapRule, TiedHead, swap_

PAGE = Path(__file__).resolve().parents[2] / "docs" / "existing_models.md"
V = 500
QUARTER = partial(HashTable, budget_fraction=0.25)


@pytest.fixture(scope="module")
def transformers():
    warnings.filterwarnings("ignore", module="transformers")
    return pytest.importorskip("transformers")


@pytest.fixture
def gpt2(transformers):
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(gpt2_config(transformers))


def gpt2_config(transformers):
    return transformers.GPT2Config(
        vocab_size=V, n_embd=32, n_layer=1, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0
    )


def language_losses(model, optimizer, steps=8):
    ids = torch.randint(1, V, (4, 12), generator=torch.Generator().manual_seed(0))
    found = []
    for _ in range(steps):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_a_language_model_is_compressed_trained_saved_and_loaded(transformers, gpt2, tmp_path):
    optimizer = torch.optim.AdamW(gpt2.parameters(), lr=0.01)
    language_losses(gpt2, optimizer)
    report = swap_(gpt2, [SwapRule(QUARTER, pattern="*.wte")], optimizers=[optimizer])
    assert report.rewired[0] == "lm_head, tied to transformer.wte, is a TiedHead"
    assert report.bytes_after == report.bytes_before // 4
    found = language_losses(gpt2, optimizer)
    assert found[-1] < 0.9 * found[0]
    gpt2.tie_weights()
    assert isinstance(gpt2.lm_head, TiedHead)
    with pytest.raises(TypeError, match="Embedding"):
        gpt2.resize_token_embeddings(600)
    gpt2.eval().save_pretrained(tmp_path)

    class Compressed(transformers.GPT2LMHeadModel):
        def __init__(self, config):
            super().__init__(config)
            swap_(self, [SwapRule(partial(QUARTER, init_std=0.02), pattern="*.wte", fit=False)])

    loaded = Compressed.from_pretrained(tmp_path).eval()
    ids = torch.arange(10).view(1, 10)
    assert torch.equal(loaded(ids).logits, gpt2(ids).logits)
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=0.01)
    assert language_losses(loaded, optimizer, 3)[-1] < found[0]


def test_a_language_model_grows(gpt2):
    swap_(gpt2, [SwapRule(QUARTER, pattern="*.wte")])
    ids = torch.arange(10).view(1, 10)
    before = gpt2.eval()(ids).logits
    gpt2.set_input_embeddings(gpt2.get_input_embeddings().grow(600))
    gpt2.lm_head = TiedHead(gpt2.get_input_embeddings())
    assert torch.equal(gpt2(ids).logits[..., :V], before)
    assert gpt2(ids + 590).logits.shape == (1, 10, 600)


def test_a_full_table_leaves_a_language_model_as_it_is(gpt2):
    optimizer = torch.optim.AdamW(gpt2.parameters(), lr=0.01)
    head, ids = gpt2.lm_head, torch.arange(10).view(1, 10)
    before = gpt2.eval()(ids).logits
    swap_(gpt2, [SwapRule(FullTable, pattern="*.wte")])
    assert gpt2.lm_head is head
    assert head.weight is gpt2.transformer.wte.weight
    assert torch.equal(gpt2(ids).logits, before)
    gpt2.resize_token_embeddings(600)
    assert gpt2(ids).logits.shape == (1, 10, 600)
    assert optimizer is not None


def test_deepctr_trains_on_tables():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = pytest.importorskip("deepctr_torch.inputs")
        models = pytest.importorskip("deepctr_torch.models")
    generator = torch.Generator().manual_seed(0)
    columns = [inputs.SparseFeat(f"C{i}", vocabulary_size=V, embedding_dim=8) for i in range(4)]
    data = {each.name: torch.randint(0, V, (512,), generator=generator).numpy() for each in columns}
    labels = (data["C0"] % 2).astype("float32")
    model = models.DeepFM(columns, columns, dnn_hidden_units=(16,), device="cpu")
    model.compile(torch.optim.Adam(model.parameters(), lr=0.01), "binary_crossentropy")
    with pytest.raises(ValueError, match="an optimizer, Adam, holds the parameter of"):
        swap_(model, [SwapRule(QRTable, pattern="embedding_dict.*")])
    report = swap_(
        model, [SwapRule(QRTable, pattern="embedding_dict.*", min_embeddings=100, fit=False)], optimizers=[model.optim]
    )
    assert "the list regularization_weight[0][0]" in report.rewired
    assert report.bytes_after < report.bytes_before / 5
    assert {id(p) for g in model.optim.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
    history = model.fit(data, labels, batch_size=128, epochs=6, verbose=0).history["loss"]
    assert history[-1] < 0.95 * history[0]
    assert all(isinstance(each, Embedding) for each in model.embedding_dict.values())
    assert model.get_regularization_loss().item() > 0


@pytest.mark.parametrize(("name", "module"), [("transformers", "transformers"), ("deepctr-torch", "deepctr_torch")])
def test_what_the_page_shows_runs(name, module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module)
    found = re.search(rf"```python {name}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(found.group(1), PAGE.name, "exec"), names)
    assert names["losses"][-1] < names["losses"][0]
    assert names["report"].bytes_after < names["report"].bytes_before
