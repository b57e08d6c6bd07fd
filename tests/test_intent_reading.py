"""Requests of every kind, what they are read as, and how items answer."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_instructrec.data.dataset import INSTRUCTION
from recbole_instructrec.data.instructions.wish import KINDS, LITTLE, NORMAL, ONLY, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import Intent, IntentScores, SentenceIntent, Wishes, intent_loss
from recbole_instructrec.model.intent_reader import IntentReader, Lessons, make_requests, reader_of, teach
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.text import PACKAGED_NAME
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from tests.support import build_all, build_data, make_config, small_items, write_dataset


def certain(n_attributes, want=(), avoid=(), degree=NORMAL):
    """An intent without doubt."""
    presence, sign = torch.full((2, 1, n_attributes), -20.0)
    presence[0, list(want + avoid)] = 20.0
    sign[0, list(want)] = 20.0
    return Intent(presence, sign, torch.nn.functional.one_hot(torch.tensor([degree]), 3) * 40.0)


def test_wishes_of_kinds():
    assert wish_of("both_but_not", (3, 1, 2)) == Wish((3, 1), (2,), NORMAL)
    assert wish_of("neither", (3, 1)) == Wish((), (3, 1), NORMAL)
    assert wish_of("little", (0,)).degree == LITTLE and wish_of("only", (0,)).degree == ONLY
    with pytest.raises(ValueError, match="has 1 values, not 2"):
        wish_of("avoid", (1, 2))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
def test_wordings_name_their_values_and_parts_are_apart(language, kind):
    templates = Templates([language])
    values = ["QX", "QY", "QZ"][: sum(KINDS[kind][:2])]
    rng = np.random.default_rng(0)
    composed = {templates.compose(kind, values, rng) for _ in range(200)}
    assert len(composed) > 30
    parts = {part: set(templates.texts(kind, part, values)) for part in ("train", "dev", "held_out")}
    for text in composed.union(*parts.values()):
        assert all(value in text.upper() for value in values), text
        assert "{" not in text
    assert not parts["train"] & parts["held_out"] and not parts["dev"] & parts["held_out"]
    assert not {text.lower().strip(". ") for text in composed} & {t.lower().strip(". ") for t in parts["held_out"]}


def test_an_item_answers_wishes_together_and_exceptions():
    #                      a  b  c
    has = csr_matrix([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 1], [0, 0, 0]])
    scores = IntentScores(has.astype(np.float32), 3)
    with torch.no_grad():
        both = scores(certain(3, want=(0, 1)))[0]
        assert both[2] > both[1] > both[5] and both[2] > both[3]  # the fewer else, the better
        without = scores(certain(3, want=(0,), avoid=(2,)))[0]
        assert without[1] > without[5] and without[2] > without[3] and without[4] < without[5]
        little, much = (scores(certain(3, want=(0,), degree=d))[0, 1] for d in (LITTLE, NORMAL))
        assert 0 < little < much
        assert torch.equal(scores(certain(3))[0].round(decimals=3), torch.zeros(6))


def test_loss_of_intents_falls_with_the_truth():
    wishes = Wishes.of([Wish((0,), (2,), ONLY), None], 3)
    right, wrong = certain(3, want=(0,), avoid=(2,), degree=ONLY), certain(3, want=(2,), avoid=(0,), degree=ONLY)
    other = certain(3, want=(1,))
    for candidate, low in ((right, True), (wrong, False), (other, False)):
        two = Intent(*[torch.cat([logits, logits]).float() for logits in candidate])
        loss = intent_loss(two, wishes)
        assert (loss < 1e-3) == low
    nothing = Wishes.of([None], 3)
    head = SentenceIntent(4, 3, 5)
    loss = intent_loss(head(torch.randn(1, 4)), nothing)
    loss.backward()
    assert loss == 0 and all(p.grad is not None for p in head.parameters())


def fake_states(texts):
    """Token states that are a hash of each word, of two layers."""
    result = []
    for text in texts:
        words = text.lower().replace(".", "").replace(",", "").split()
        rows = [np.random.default_rng(zlib.crc32(w.encode())).standard_normal(16) for w in words]
        result.append(torch.tensor(np.array(rows), dtype=torch.float16))
    return result


def test_reader_learns_signs(tmp_path):
    """With the real encoder, in words that training has not seen."""
    encoder = FrozenTextEncoder(PACKAGED_NAME, 64, str(tmp_path), False)
    names = ["Comedy", "Drama", "Horror"]
    texts, wishes = make_requests(Templates(["en"]), names, [], 1500, 1)
    torch.manual_seed(0)
    reader = IntentReader(encoder.size, 3)
    teach(reader, encoder.token_states(texts), wishes, Lessons(epochs=6), 1, False)
    said = [
        "Please leave out anything horror.",
        "I fancy a comedy tonight",
        "I would like drama, but no comedy",
        "a nice day",
    ]
    intent, attention = reader.read(encoder.token_states(said))
    assert attention.shape[2] == 3 and torch.allclose(attention.sum(1), torch.ones(4, 3), atol=1e-4)
    assert intent.avoided[0, 2] > 0.5 > intent.wanted[0].max()
    assert intent.wanted[1, 0] > 0.5 > intent.avoided[1].max()
    assert intent.wanted[2, 1] > 0.5 and intent.avoided[2, 0] > 0.5
    assert torch.sigmoid(intent.presence[3]).max() < 0.5


def test_reader_is_kept(tmp_path):
    names, templates, lessons = ["Comedy", "Drama", "Horror"], Templates(["en"]), Lessons(texts=60, epochs=1)
    asked = []

    def states(texts):
        asked.append(len(texts))
        return fake_states(texts)

    state = torch.random.get_rng_state()
    reader = reader_of("e", 8, states, templates, names, [], tmp_path, False, lessons)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(p.requires_grad for p in reader.parameters()) and not reader.training
    again = reader_of("e", 8, states, templates, names, [], tmp_path, False, lessons)
    assert len(asked) == 1
    assert all(torch.equal(a, b) for a, b in zip(reader.parameters(), again.parameters(), strict=True))
    next(tmp_path.glob("reader-*.pt")).write_bytes(b"broken")
    reader_of("e", 8, states, templates, names, [], tmp_path, False, lessons)
    assert len(asked) == 2


def test_padding_does_not_change_what_is_read():
    torch.manual_seed(0)
    reader = IntentReader(8, 3).eval()
    short, long = fake_states(["no horror", "please show me some more good comedy tonight"])
    alone, _ = reader.read([short])
    together, _ = reader.read([short, long])
    assert torch.allclose(alone.flat()[0], together.flat()[0], atol=1e-5)


def test_requests_to_learn_from():
    templates = Templates(["en", "zh"])
    texts, wishes = make_requests(templates, ["Comedy", "1990s", "Horror"], ["A title"], 400, 1)
    assert make_requests(templates, ["Comedy", "1990s", "Horror"], ["A title"], 400, 1) == (texts, wishes)
    assert "A title" in texts and len(texts) == len(wishes)
    assert {len(w.want) + len(w.avoid) for w in wishes} == {0, 1, 2, 3}
    one, _ = make_requests(templates, ["Comedy"], [], 50, 1)  # a single attribute: no pairs to speak of
    assert len(one) >= 50


def test_training_requests_hold_for_their_target(films):
    """What is asked for the target has, what is avoided it lacks."""
    _, train, _, _ = build_data(make_config(films, instruction_mix={"intent": 1.0}))
    data = train._dataset
    source, bank, has = data.sources["intent"], data.instructions, data.attributes.matrix.toarray() > 0
    positions = np.arange(len(data.history))
    kinds = set()
    for seed in range(5):
        numbers = source.numbers(positions, np.random.default_rng(seed))
        for position, number in zip(positions, numbers, strict=True):
            wish, item = bank.asked[number], data.history.item[position]
            kinds.add((len(wish.want), len(wish.avoid), wish.degree))
            if wish.degree != LITTLE:
                assert has[item, list(wish.want)].all() and not has[item, list(wish.avoid)].any()
    assert {(1, 0, NORMAL), (0, 1, NORMAL), (1, 1, NORMAL), (1, 0, LITTLE), (1, 0, ONLY)} <= kinds


def test_years_become_decades_beside_the_main_attributes(tmp_path):
    items = [(*row, 1980 + 3 * k if k else "") for k, row in enumerate(small_items())]
    folder = write_dataset(
        tmp_path, "films", items=items, item_header="item_id:token\ttitle:token_seq\tgenre:token_seq\tyear:token"
    )
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "genre", "year"]}
    config = make_config(folder, load_col=columns, intent_also=["year"])
    _, _, _, test = build_data(config)
    attributes = test._dataset.attributes
    genres = {genre for _, _, genres in small_items() for genre in genres.split()}
    assert set(attributes.names[: attributes.n_main]) == genres
    assert set(attributes.names[attributes.n_main :]) == {
        "1980s",
        "1990s",
        "2000s",
        "2010s",
        "2020s",
        "2030s",
        "2040s",
        "2050s",
    }
    test._dataset.use_instructions("intent")
    asked = [test._dataset.instructions.asked[n] for n in test._dataset[list(range(len(test._dataset)))][INSTRUCTION]]
    assert all(len(wish.want) == 1 and wish.want[0] < attributes.n_main for wish in asked if wish.want)


def test_hear_any_words(films):
    _, trainer, _, _, test = build_all(make_config(films, epochs=1))
    model = trainer.model.eval()
    batch = test._dataset[[0, 1, 2, 3]]
    said = model.hear(["no horror please", "  ", "恐怖 👻 <b>x</b>", "no horror please"])
    assert said.line.tolist() == [0, -1, 1, 0]
    with torch.no_grad():
        scores = all_scores(model.request(batch, said))
        silent = all_scores(model.request(batch, model.hear(["", "", "", ""])))
    assert torch.isfinite(scores).all()
    assert torch.equal(scores[1], silent[1]) and not torch.equal(scores[0], silent[0])


def test_kinds_out_of_range(films):
    for kinds, message in (
        ({"often": 1.0}, "'often' is unknown"),
        ({"avoid": -1}, "at least 0"),
        ({}, "shares of the kinds"),
    ):
        with pytest.raises(ValueError, match=message):
            build_data(make_config(films, instruction_kinds=kinds))


def test_teaching_is_repeatable():
    texts, wishes = make_requests(Templates(["en"]), ["Comedy", "Drama"], [], 100, 1)
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        reader = IntentReader(8, 2)
        losses.append(teach(reader, fake_states(texts), wishes, Lessons(epochs=1), 5, progress=False))
    assert losses[0] == losses[1]
