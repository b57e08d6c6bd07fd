"""Parts of the model: causality, fusion, encoders, item table, cache."""

from __future__ import annotations

import logging
import multiprocessing
import sqlite3

import numpy as np
import pytest
import torch
from recbole.utils import get_model

from recbole_instructrec.data.dataset import INSTRUCTION
from recbole_instructrec.model.dropout import Dropout
from recbole_instructrec.model.items import ItemVectorError
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.projection import fit_principal_components, fit_whitening
from recbole_instructrec.model.text import EncoderNotFound, TransformerEncoder, locate
from recbole_instructrec.model.text_cache import TextCache
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from tests.support import build_all, build_data, make_config, small_items, write_dataset


def build_model(data_path, **options):
    config = make_config(data_path, **options)
    _, train, _, test = build_data(config)
    torch.manual_seed(1)
    return get_model("InstructRec")(config, train._dataset).eval(), train, test


def test_a_position_never_sees_later_items(films):
    model, _, _ = build_model(films)
    items = torch.randint(1, model.n_items, (3, 8))
    changed = items.clone()
    changed[:, 5:] = torch.randint(1, model.n_items, (3, 3))
    table = model.items()
    before, after = model.behaviour(items, table), model.behaviour(changed, table)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_padding_changes_nothing(films):
    model, _, test = build_model(films)
    batch = test._dataset[:]
    wide = model.full_sort_predict(batch)
    for row in range(len(batch)):
        torch.testing.assert_close(model.full_sort_predict(test._dataset[[row]])[0], wide[row], rtol=1e-4, atol=1e-4)


def test_predict_agrees_with_full_sort(films):
    model, _, test = build_model(films)
    batch = test._dataset[:]
    full = model.full_sort_predict(batch)
    torch.testing.assert_close(model.predict(batch), full[torch.arange(len(full)), batch["item_id"]])
    assert full.shape == (len(batch), model.n_items)


def test_no_instruction_costs_nothing(films):
    """With instruction parts turned inside out the un-instructed scores stay the same."""
    model, _, test = build_model(films)
    batch = test._dataset[:]
    assert (batch[INSTRUCTION] == 0).all()
    before = model.full_sort_predict(batch)
    with torch.no_grad():
        for part in (model.fusion, model.summary, model.intent, model.match):
            for parameter in part.parameters():
                parameter.add_(torch.randn_like(parameter))
    assert torch.equal(before, model.full_sort_predict(batch))
    test._dataset.use_instructions("intent")
    assert not torch.allclose(before, model.full_sort_predict(test._dataset[:]))


def test_empty_history_and_rows_without_our_fields(films):
    model, _, test = build_model(films)
    batch = test._dataset[:]
    batch["item_id_list"] = torch.zeros_like(batch["item_id_list"])
    batch["item_length"] = torch.zeros_like(batch["item_length"])
    assert torch.isfinite(model.full_sort_predict(batch)).all()
    del batch.interaction[INSTRUCTION]
    assert torch.isfinite(model.full_sort_predict(batch)).all()


def test_padding_item_is_never_recommended(films):
    model, _, test = build_model(films)
    assert (model.full_sort_predict(test._dataset[:])[:, 0] < -1e6).all()


@pytest.mark.parametrize("targets", ["windows", "stock rows"])
def test_gradients_reach_every_part(films, targets):
    model, train, test = build_model(films, item_fusion="multiply", context_fields=["gap"])
    model.train()
    batches = list(train) if targets == "windows" else [test._dataset[:]]
    if targets == "stock rows":
        test._dataset.use_instructions("intent")
        batches = [test._dataset[:]]
    sum(model.calculate_loss(batch) for batch in batches).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not [name for name in without if "attention.in_proj_bias" not in name], without


def test_repeat_score_falls_where_nobody_repeats(films):
    config = make_config(films, epochs=6, learning_rate=0.05, warmup_steps=0)
    model, trainer, train, valid, _ = build_all(config)
    trainer.fit(train, valid, saved=False, verbose=False)
    assert model.repeat.item() < -0.1
    off, _, test = build_model(films, repeat_bias=False)
    batch = test._dataset[:]
    request = off._request(batch)
    assert request.seen.shape[1] == 0
    assert torch.equal(all_scores(request), off.full_sort_predict(batch))


def test_shorter_encoder_with_longer_memory(films):
    """The encoder reads the last four items; the repeat score knows all ten."""
    model, train, test = build_model(films, encoder_length=4, MAX_ITEM_LIST_LENGTH=10, neighbour_weight=0.0)
    batch = test._dataset[:]
    request = model._request(batch)
    for row in range(len(batch)):
        length = int(batch["item_length"][row])
        items = batch["item_id_list"][row, :length]
        assert set(request.seen[row].tolist()) - {0} == set(items.tolist())
        last = items[-4:]
        state = model.behaviour(last[None], model.items())[0, len(last)]
        expected = torch.nn.functional.normalize(state, dim=-1) * model.log_scale.exp()
        torch.testing.assert_close(request.hidden[row], expected, rtol=1e-4, atol=1e-5)
    losses = [model.train().calculate_loss(part) for part in train]
    assert torch.isfinite(torch.stack(losses)).all()
    sum(losses).backward()
    assert model.repeat.grad.abs() > 0


def test_gradients_with_repeated_items(tmp_path):
    """Users who take items again: the repeat score's gradient counts each item once."""
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{rng.integers(0, 6)}", 880_000_000 + t) for u in range(6) for t in range(14)]
    data = write_dataset(tmp_path / "d", "films", rows, small_items(6))
    model, train, _ = build_model(data, encoder_length=4, instruction_mix={"none": 1.0}, report_rows=["none"])
    for batch in train:
        items, targets = batch["item_id_list"], batch["item_id"]
        table = model.items()
        state = model.behaviour(items, table)
        losses = []
        for row, step in torch.nonzero(targets).tolist():
            hidden = torch.nn.functional.normalize(state[row, step], dim=-1) * model.log_scale.exp()
            scores = hidden @ torch.nn.functional.normalize(table, dim=-1).T + model.item_bias
            held = set(items[row, :step].tolist()) | set(batch["earlier_items"][row].tolist())
            mask = torch.tensor([float(item in held) for item in range(model.n_items)])
            scores = (scores + 10.0 * model.repeat * mask)[1:]
            losses.append(torch.nn.functional.cross_entropy(scores, targets[row, step] - 1))
        plain = torch.stack(losses).mean()
        ours = model.calculate_loss(batch)
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
        parts = [model.repeat, model.item_bias, model.items.id.weight]
        for mine, theirs in zip(torch.autograd.grad(ours, parts), torch.autograd.grad(plain, parts), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_training_and_evaluation_rows_see_the_same_items(films):
    """The same request as a stock row and as a window has the same loss."""
    model, train, _ = build_model(films, encoder_length=4, MAX_ITEM_LIST_LENGTH=10, training_rows="prefixes")
    history = train._dataset.history
    place = {(int(u), int(i)): p for p, (u, i) in enumerate(zip(history.user, history.item, strict=True))}
    batch = next(iter(train))
    batch[INSTRUCTION] = torch.zeros_like(batch[INSTRUCTION])
    target = batch["item_id"].max(1).values
    items = torch.zeros(len(target), 10, dtype=torch.long)
    length = torch.zeros(len(target), dtype=torch.long)
    for row, (user, item) in enumerate(zip(batch["user_id"].tolist(), target.tolist(), strict=True)):
        position = place[(user, item)]
        read = history.item[max(history.user_start[position], position - 10) : position]
        items[row, : len(read)], length[row] = torch.from_numpy(read.copy()), len(read)
    stock = type(batch)(
        {"item_id_list": items, "item_length": length, "item_id": target, INSTRUCTION: torch.zeros_like(length)}
    )
    with torch.no_grad():
        model.repeat.fill_(-2.0)
        torch.testing.assert_close(model.calculate_loss(stock), model.calculate_loss(batch), rtol=1e-5, atol=1e-6)


# --- item table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    layer = Dropout(p)
    values = torch.ones(1000, 201, requires_grad=True)
    result = layer(values)
    kept = result > 0
    assert abs(1 - kept.float().mean().item() - p) < 0.005
    assert abs(result.mean().item() - 1) < 0.01
    # Neighbours come from one random word, and rows from words that follow each other: neither may go together.
    for first, second in ((kept[:, :-1], kept[:, 1:]), (kept[:-1], kept[1:]), (kept[:, :-8], kept[:, 8:])):
        together = (first & second).float().mean().item()
        assert abs(together - (1 - p) ** 2) < 0.006
    result.sum().backward()
    assert torch.equal(values.grad, result.detach())
    assert torch.equal(layer.eval()(values), values)


def test_dropout_follows_the_seed_and_spares_the_extremes():
    values = torch.ones(3, 5)
    layer = Dropout(0.5)
    torch.manual_seed(1)
    first = layer(values)
    torch.manual_seed(1)
    assert torch.equal(first, layer(values))
    assert torch.equal(Dropout(0.0)(values), values)
    assert not Dropout(1.0)(values).any()
    assert layer(torch.ones(0, 4)).shape == (0, 4)


def test_whitening():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 20)) + 3
    present = rng.random(300) < 0.9
    white = fit_whitening(vectors, present, 16).project(vectors, present)
    assert white.shape == (300, 6)  # only six directions vary
    np.testing.assert_allclose(np.cov(white[present].T), np.eye(6), atol=0.02)
    assert (white[~present] == 0).all()


@pytest.mark.parametrize("fit", [fit_whitening, fit_principal_components])
def test_projections_of_large_catalogues_are_fitted_to_some_of_it(monkeypatch, fit):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3_000, 6)) @ rng.normal(size=(6, 20)) + 3
    present = rng.random(3_000) < 0.9
    vectors[~present] = np.nan
    whole = fit(vectors, present, 6)
    monkeypatch.setattr("recbole_instructrec.model.projection.MOST_VECTORS", 1_000)
    some = fit(vectors, present, 6)
    assert torch.equal(some.basis, fit(vectors, present, 6).basis) and not torch.equal(some.mean, whole.mean)
    # The same lengths and angles, but for what a third of the vectors cannot tell.
    spread = [np.linalg.norm(one.project(vectors, present), axis=1) for one in (whole, some)]
    np.testing.assert_allclose(*spread, rtol=0.2, atol=0.3)
    in_parts = some.project(vectors, present)
    monkeypatch.undo()
    np.testing.assert_allclose(in_parts, some.project(vectors, present), rtol=1e-6)
    assert (in_parts[~present] == 0).all()


def vectors_file(tmp_path, ids, vectors):
    file = tmp_path / "image.npz"
    np.savez(file, item_id=np.array(ids), vector=np.array(vectors, dtype=np.float32))
    return str(file)


@pytest.mark.parametrize("fusion", ["none", "add", "multiply", "start"])
def test_another_modality(films, tmp_path, fusion):
    rng = np.random.default_rng(0)
    file = vectors_file(tmp_path, [f"i{k}" for k in range(20)] + ["stranger"], rng.normal(size=(21, 12)))
    model, train, _ = build_model(films, item_vectors={"image": file}, item_fusion=fusion)
    table = model.items()
    assert table.shape == (model.n_items, 16) and torch.isfinite(table).all()
    assert torch.isfinite(model.train().calculate_loss(next(iter(train))))
    if fusion != "start":
        assert "image" in model.items.adaptors
        # an item without a vector is its id (and text) alone
        lone = train._dataset.field2token_id["item_id"]["i24"]
        assert (model.items.image_vectors[lone] == 0).all()


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["i1", "i2"], [[1.0, np.nan], [0.0, 1.0]], r"NaN.*i1"),
        (["i1"], [[1.0], [2.0]], "1 item ids but 2 vectors"),
        (["x1", "x2"], [[1.0, 2.0], [0.0, 1.0]], "no item_id"),
    ],
)
def test_bad_item_vectors(films, tmp_path, ids, vectors, message):
    with pytest.raises(ItemVectorError, match=message):
        build_model(films, item_vectors={"image": vectors_file(tmp_path, ids, vectors)})


def test_missing_item_vectors(films, tmp_path):
    with pytest.raises(ItemVectorError, match="there is no file"):
        build_model(films, item_vectors={"image": "nowhere.npz"})
    np.savez(tmp_path / "a.npz", vector=np.ones((2, 2)))
    with pytest.raises(ItemVectorError, match="item_id and vector"):
        build_model(films, item_vectors={"image": str(tmp_path / "a.npz")})
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(Exception, match=r"cannot be read|not a zip"):
        build_model(films, item_vectors={"image": str(tmp_path / "b.npz")})


# --- text encoders --------------------------------------------------------------------------------


def test_packaged_encoder_understands_english():
    vectors = TransformerEncoder("sentence-transformers/all-MiniLM-L6-v2", 64).encode(
        ["a funny film", "something that makes me laugh", "the stock market fell"]
    )
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_padding_does_not_change_a_text():
    encoder = TransformerEncoder("sentence-transformers/all-MiniLM-L6-v2", 64)
    alone = encoder.encode(["short"])
    together = encoder.encode(["short", "a much longer text with many more words in it than the other"])
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)


@pytest.mark.parametrize("text", ["x" * 100_000, "词" * 100_000, "", " ", "😀 mixed 混合 смесь ‮ \x00", "<b>&amp;</b>"])
def test_strange_texts_have_a_vector(text):
    vectors = TransformerEncoder("sentence-transformers/all-MiniLM-L6-v2", 64).encode([text, "plain"])
    assert np.isfinite(vectors).all()


def tiny_gpt(folder):
    """A GPT-2 of two layers with a tokenizer of single bytes, saved like any Hugging Face model."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {symbol: code for code, symbol in enumerate(["<end>", *sorted(alphabet)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    GPT2Model(GPT2Config(vocab_size=len(vocabulary), n_positions=64, n_embd=16, n_layer=2, n_head=2)).save_pretrained(
        folder
    )
    return str(folder)


def test_gpt_like_encoder_pools_the_last_token(tmp_path, films):
    path = tiny_gpt(tmp_path / "gpt")
    encoder = TransformerEncoder(path, 32)
    assert encoder.files.found == "local path"
    texts = ["ab", "abcdef", "b"]
    ids, mask = encoder.tokenize(texts)
    states = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    last = torch.stack([states[k, int(mask[k].sum()) - 1] for k in range(3)])
    expected = torch.nn.functional.normalize(last, dim=-1).detach().numpy()
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
    model, train, _ = build_model(films, text_encoder=path, intent_texts=40)
    assert torch.isfinite(model.calculate_loss(next(iter(train))))


def test_encoder_that_cannot_be_found(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderNotFound, match=r"(?s)hub cannot be reached.*\[offline\].*--text_encoder=PATH"):
        locate("nobody/nothing")
    with pytest.raises(EncoderNotFound, match="does not exist"):
        locate("./nowhere")


def test_packaged_weights_are_checked(monkeypatch):
    monkeypatch.setattr("recbole_instructrec.model.text.sha256_of", lambda file: "0" * 64)
    with pytest.raises(EncoderNotFound, match="SHA-256"):
        TransformerEncoder("sentence-transformers/all-MiniLM-L6-v2", 64)


def test_full_tuning_trains_the_encoder(tmp_path, films):
    model, train, _ = build_model(
        films, text_encoder=tiny_gpt(tmp_path / "gpt"), encoder_tuning="full", intent_texts=40
    )
    model.train()
    sum(model.calculate_loss(batch) for batch in train).backward()
    weight = model.instructions.transformer.model.h[0].attn.c_attn.weight
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    assert torch.isfinite(model.instructions.encode(["something new"])).all()


def test_the_encoder_as_it_came_is_heard_beside_the_tuned_one(tmp_path, films):
    model, train, test = build_model(
        films, text_encoder=tiny_gpt(tmp_path / "gpt"), encoder_tuning="full", intent_texts=40
    )
    torch.manual_seed(0)
    tuned, frozen = model.train()._encoders_heard(20000)
    assert (tuned + frozen >= 1).all()
    heard_shares = [float(part.mean()) for part in (tuned, frozen, tuned * frozen)]
    assert heard_shares == pytest.approx([0.75, 0.75, 0.5], abs=0.02)
    sum(model.calculate_loss(batch) for batch in train).backward()
    for match in (model.match, model.frozen_match):
        assert match.query.weight.grad.abs().sum() > 0
    model.eval()
    tuned, frozen = model._encoders_heard(3)
    assert tuned.all() and frozen.all()
    test._dataset.use_instructions("intent")
    rows = test._dataset[[0, 1]]
    texts = [test._dataset.instructions.texts[number] for number in rows["instruction_number"].tolist()]
    with torch.no_grad():
        heard, read = model.hear(texts), model._read(rows["instruction_number"])
    for own, other in ((heard.vectors, read.vectors), (heard.frozen, read.frozen)):
        assert torch.allclose(own[heard.line], other[read.line], atol=1e-5)


@pytest.mark.parametrize("header", ["", "3 4\n"], ids=["glove", "word2vec"])
def test_bilstm_over_word_vectors(films, tmp_path, header, caplog):
    file = tmp_path / "words.txt"
    file.write_text(header + "comedy 1 0 0 0\nplease 0 1 0 0.5\nunrelated 0 0 1 0\n")
    with caplog.at_level(logging.INFO):
        model, train, _ = build_model(
            films, instruction_encoder="bilstm", word_vectors=str(file), word_vectors_trainable=False
        )
    assert "2 of" in caplog.text
    assert model.instructions.words.weight[model.instructions.vocabulary["comedy"]].tolist() == [1, 0, 0, 0]
    loss = sum(model.train().calculate_loss(batch) for batch in train)
    loss.backward()
    assert model.instructions.words.weight.grad is None
    assert model.instructions.lstm.weight_ih_l0.grad.abs().sum() > 0
    vectors = model.instructions.encode(["a comedy, please", "完全 unknown", ""])
    assert vectors.shape == (3, 32) and torch.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [("comedy 1 0\nplease 1\n", "line 2"), ("comedy a b\n", "line 1"), ("xyz 1 2\n", "none of the instructions")],
)
def test_bad_word_vectors(films, tmp_path, content, message):
    (tmp_path / "words.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        build_model(films, instruction_encoder="bilstm", word_vectors=str(tmp_path / "words.txt"))


# --- cache ----------------------------------------------------------------------------------------


def test_second_run_encodes_nothing(tmp_path):
    folder = str(tmp_path / "cache")
    first = FrozenTextEncoder("sentence-transformers/all-MiniLM-L6-v2", 64, folder)
    vectors = first(["one", "two", "one"])
    assert first.cache.encoded == 2
    second = FrozenTextEncoder("sentence-transformers/all-MiniLM-L6-v2", 64, folder)
    assert np.array_equal(vectors, second(["one", "two", "one"]))
    assert second.cache.encoded == 0
    assert "model" not in vars(second.encoder)  # not even loaded


def test_cached_vectors_serve_without_the_weights(tmp_path, monkeypatch):
    folder = str(tmp_path / "cache")
    FrozenTextEncoder("sentence-transformers/all-MiniLM-L6-v2", 64, folder)(["known"])
    monkeypatch.setattr("recbole_instructrec.model.text.packaged_folder", lambda: None)
    encoder = FrozenTextEncoder("sentence-transformers/all-MiniLM-L6-v2", 64, folder)
    assert encoder(["known"]).shape == (1, 384)
    with pytest.raises(EncoderNotFound, match="not in the cache"):
        encoder(["unknown"])


def test_damaged_cache_is_moved_aside(tmp_path, caplog):
    cache = TextCache(tmp_path, "e", "f" * 20)
    cache.vectors(["a"], lambda texts: np.ones((len(texts), 3)), 3)
    cache.file.write_bytes(b"this is no database" * 100)
    with caplog.at_level(logging.WARNING):
        again = cache.vectors(["a"], lambda texts: np.full((len(texts), 3), 2.0), 3)
    assert again.tolist() == [[2, 2, 2]] and "damaged" in caplog.text
    assert list(tmp_path.glob("*.damaged"))


def test_locked_cache_is_left_alone(tmp_path, caplog, monkeypatch):
    cache = TextCache(tmp_path, "e", "f" * 20)
    cache.vectors(["a"], lambda texts: np.ones((len(texts), 3)), 3)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, timeout: connect(file, timeout=0.1))
    holder = connect(cache.file)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        again = cache.vectors(["a"], lambda texts: np.full((len(texts), 3), 2.0), 3)
    holder.close()
    assert again.tolist() == [[2, 2, 2]] and "cannot be read now" in caplog.text
    assert not list(tmp_path.glob("*.damaged"))
    assert cache.vectors(["a"], lambda texts: np.zeros((len(texts), 3)), 3).tolist() == [[1, 1, 1]]


def test_caches_of_encoders_with_like_names(tmp_path):
    TextCache(tmp_path, "some/encoder-large", "a" * 20).vectors(["a"], lambda texts: np.ones((len(texts), 3)), 3)
    assert TextCache.find(tmp_path, "some/encoder") is None
    assert TextCache.find(tmp_path, "some/encoder-large") == "a" * 16


def test_fingerprint_covers_the_tokenizer(tmp_path):
    first = TransformerEncoder(tiny_gpt(tmp_path / "a"), 32).fingerprint
    assert TransformerEncoder(tiny_gpt(tmp_path / "b"), 32).fingerprint == first
    assert TransformerEncoder(str(tmp_path / "a"), 16).fingerprint != first
    file = tmp_path / "b" / "tokenizer.json"
    file.write_text(file.read_text() + " ")
    assert TransformerEncoder(str(tmp_path / "b"), 32).fingerprint != first


def _write_many(folder, offset):
    cache = TextCache(folder, "e", "f" * 20)
    texts = [f"text {k + offset}" for k in range(300)]
    for begin in range(0, 300, 10):
        cache.vectors(texts[begin : begin + 10], lambda part: np.array([[float(t.split()[1])] * 4 for t in part]), 4)


def test_two_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_many, args=(tmp_path, offset)) for offset in (0, 150)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    connection = sqlite3.connect(next(tmp_path.glob("*.sqlite")))
    assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (450,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    cache = TextCache(tmp_path, "e", "f" * 20)
    assert cache.vectors(["text 449"], lambda part: np.zeros((1, 4)), 4).tolist() == [[449.0] * 4]
