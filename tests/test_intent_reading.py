"""Requests of every kind, what they are read as, and how items answer."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_instructrec.data.dataset import INSTRUCTION
from recbole_instructrec.data.instructions.wish import KINDS, LITTLE, NORMAL, ONLY, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates, _Words, plain_form
from recbole_instructrec.model.intent import Intent, IntentScores, SentenceIntent, Wishes, intent_loss
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.reading.adapter import LowRank
from recbole_instructrec.model.reading.lessons import Group, KeptStates, Known, Lessons, make_requests, teach
from recbole_instructrec.model.reading.reader import IntentReader, Shape, shape_of, vectors_of_names
from recbole_instructrec.model.reading.readers import Encoder, packaged, reader_of, save_packaged
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
    plain = {part: {plain_form(text, values) for text in texts} for part, texts in parts.items()}
    assert not plain["train"] & (plain["dev"] | plain["held_out"]) and not plain["dev"] & plain["held_out"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_training_request_is_one_that_is_measured_with(language):
    """Also none that words drawn at random happen to make: of the kinds for which that is easy, many are drawn."""
    templates, rng = Templates([language]), np.random.default_rng(3)
    made = 0
    for kind in KINDS:
        values = ["Qxa", "Qxb", "Qxc"][: sum(KINDS[kind][:2])]
        measured = {plain_form(t, values) for part in ("dev", "held_out") for t in templates.texts(kind, part, values)}
        drawn = [templates.compose(kind, values, rng) for _ in range(3000)]
        assert not measured & {plain_form(text, values) for text in drawn}
        # The test can fail: without the check such requests are made.
        language_words = templates._languages[0]
        for _ in range(3000):
            words = _Words(language_words, rng)
            made += plain_form(words.request(kind, values), words.bare) in measured
    assert made > 0


def test_wordings_are_compared_without_their_values():
    assert plain_form("I can't stand {a} movies.") == plain_form("i cant stand Film-Noir movies", ["Film-Noir"])
    assert plain_form("{a} but not {b}") == plain_form("war, but not warm", ["war", "warm"])
    assert plain_form("a war on warm days", ["war"]) == "a _ on warm days"
    assert plain_form("不要{a}，谢谢！") == plain_form("不要恐怖片谢谢", ["恐怖片"])


@pytest.mark.parametrize("odd", ["-", "_", ",", "'", " "])
def test_values_without_a_letter_do_not_stop_the_lessons(odd):
    texts, wishes = make_requests(Templates(["en", "zh"]), [odd, "Comedy", "Drama", "Horror"], [], 1500, 2020)
    assert len(texts) == len(wishes) >= 1500


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


def fake_vectors(texts):
    """Vectors of texts that are a hash of them, of length 1."""
    rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(8) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


def fake_encoder(weights=None, states=fake_states):
    return Encoder("e", weights, 8, states, fake_vectors)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The packaged encoder as it came."""
    return FrozenTextEncoder(PACKAGED_NAME, 64, str(tmp_path_factory.mktemp("texts")), False)


@pytest.fixture(scope="module")
def packaged_reader(encoder):
    """The packaged reader: reads texts about attributes of any names."""
    found = packaged(encoder.weights, ["en"])
    adapted = FrozenTextEncoder(PACKAGED_NAME, 64, str(encoder.folder), False, found["adapter"])
    reader = reader_of(
        Encoder(adapted.fingerprint, adapted.weights, adapted.size, adapted.token_states, encoder),
        Templates(["en"]),
        [],
        [],
        encoder.folder,
    )

    def read(names, texts):
        with torch.no_grad():
            return reader.read(adapted.token_states(texts), vectors_of_names(names, encoder))

    return read


def test_packaged_reader_was_taught_with_the_words_that_are_here(encoder):
    about = packaged(encoder.weights, ["en"])["about"]
    assert about["templates"] == Templates(["en"]).fingerprint, "words were changed: run tools/teach_reader.py"
    assert about["commit"] and about["dirty"] is False


def test_packaged_reader_reads_signs(packaged_reader):
    names = ["Comedy", "Drama", "Horror", "1990s"]
    said = [
        "Please leave out anything horror.",
        "I fancy a comedy tonight",
        "I would like drama, but no comedy",
        "only films from the 90s",
        "what time is it",
    ]
    intent, attention = packaged_reader(names, said)
    assert attention.shape[2] == 4 and torch.allclose(attention.sum(1), torch.ones(5, 4), atol=1e-4)
    assert intent.avoided[0, 2] > 0.5 > intent.wanted[0].max()
    assert intent.wanted[1, 0] > 0.5 > intent.avoided[1].max()
    assert intent.wanted[2, 1] > 0.5 and intent.avoided[2, 0] > 0.5
    assert intent.wanted[3, 3] > 0.5 and intent.degree[3].argmax() == ONLY
    assert torch.sigmoid(intent.presence[4]).max() < 0.5


def test_packaged_reader_reads_about_attributes_that_it_has_not_met(packaged_reader, encoder):
    names = ["bossa nova", "hard-rock", "Cookbooks", "acoustic"]
    assert set(names) <= set(packaged(encoder.weights, ["en"])["about"]["kept_out"])
    said = ["show me some bossa nova", "no hard rock please", "cookbooks, but no bossa nova", "i need a new lamp"]
    intent, _ = packaged_reader(names, said)
    assert (torch.sigmoid(intent.presence) > 0.5).int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0] * 4]
    assert intent.sign[0, 0] > 0 > intent.sign[1, 1] and intent.sign[2, 2] > 0 > intent.sign[2, 0]


def test_packaged_reader_reads_most_of_what_it_is_chosen_by(packaged_reader):
    """A bound well below what `python -m benchmarks.reading` prints."""
    names = ["Comedy", "Drama", "Horror", "War", "Western", "1980s"]
    templates, rng = Templates(["en"]), np.random.default_rng(1)
    texts, wishes = [], []
    for kind, (want, avoid, _) in KINDS.items():
        for text in range(25):
            values = tuple(int(v) for v in rng.choice(len(names), want + avoid, replace=False))
            options = templates.texts(kind, "dev", [names[v] for v in values])
            texts.append(options[text % len(options)])
            wishes.append(wish_of(kind, values))
    intent, _ = packaged_reader(names, texts)
    known = Wishes.of(wishes, len(names))
    present = ((intent.presence > 0) == (known.present > 0)).all(1)
    signs = (((intent.sign > 0) == (known.wanted > 0)) | (known.present == 0)).all(1)
    assert (present & signs).float().mean() > 0.9


def test_vectors_of_texts_stay_comparable(encoder):
    found = packaged(encoder.weights, ["en"])
    adapted = FrozenTextEncoder(PACKAGED_NAME, 64, str(encoder.folder), False, found["adapter"])
    assert adapted.fingerprint != encoder.fingerprint
    texts = ["a dark thriller", "The Lighthouse Keeper", "no horror please", "something to laugh at"]
    cosine = (adapted(texts) * encoder(texts)).sum(1)
    assert (cosine > 0.9).all() and (cosine < 1.0).all()


def test_adapters_add_to_the_weights_that_they_name():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False))
    before = model[0].weight.detach().clone()
    a, b = torch.ones(1, 3), torch.tensor([[1.0], [2.0]])
    LowRank({"0.weight.a": a, "0.weight.b": b}).add_to(model)
    assert torch.equal(model[0].weight, before + b @ a)
    with pytest.raises(KeyError):
        LowRank({"1.weight.a": a, "1.weight.b": b}).add_to(model)


def test_adapters_of_peft_are_what_peft_adds():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    again = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    again.load_state_dict(plain.state_dict())
    settings = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["0", "1"], init_lora_weights=False)
    tuned = peft.get_peft_model(plain, settings).eval()
    LowRank(LowRank.of_peft(tuned)).add_to(again)
    x = torch.randn(5, 4)
    assert torch.allclose(tuned(x), again(x), atol=1e-5)


def test_reader_is_packaged_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_instructrec.model.reading.readers._PACKAGED", tmp_path / "taught")
    torch.manual_seed(0)
    for recurrent in (False, True):
        reader = IntentReader(8, Shape(12, 3, 2, recurrent)).eval()
        assert shape_of(reader.state_dict()) == Shape(12, 3, 2, recurrent)
    assert packaged("0" * 64, ["en"]) is None and packaged(None, ["en"]) is None
    save_packaged(reader, {"x.a": torch.ones(1, 2)}, "0" * 64, ["en"], {"why": "a test"})
    found = packaged("0" * 64, ["en"])
    assert found["about"] == {"why": "a test"} and found["adapter"]["x.a"].dtype == torch.float16
    again = reader_of(fake_encoder("0" * 64), Templates(["en"]), ["Comedy"], [], tmp_path)
    assert again.shape == reader.shape and not again.training
    with torch.no_grad():
        names = torch.from_numpy(fake_vectors(["comedy"]))
        one, two = (r.read(fake_states(["no comedy"]), names)[0].flat() for r in (reader, again))
    assert torch.allclose(one, two, atol=0.02) and one.dtype == two.dtype == torch.float32


def test_reader_learns_signs(encoder):
    """One that is taught for the attributes at hand, with the real encoder, in words that training has not seen."""
    names = ["Comedy", "Drama", "Horror"]
    texts, wishes = make_requests(Templates(["en"]), names, [], 2500, 1)
    torch.manual_seed(0)
    reader, vectors = IntentReader(encoder.size), vectors_of_names(names, encoder)
    teach(reader, KeptStates(encoder.token_states(texts)), wishes, Known.all(vectors), Lessons(epochs=6), 1, False)
    said = ["Please leave out anything horror.", "I fancy a comedy tonight", "a nice day"]
    intent, _ = reader.read(encoder.token_states(said), vectors)
    assert intent.avoided[0, 2] > 0.5 > intent.wanted[0].max()
    assert intent.wanted[1, 0] > 0.5 > intent.avoided[1].max()
    assert torch.sigmoid(intent.presence[2]).max() < 0.5


def test_reader_is_kept(tmp_path):
    names, templates, lessons = ["Comedy", "Drama", "Horror"], Templates(["en"]), Lessons(texts=60, epochs=1)
    asked = []

    def states(texts):
        asked.append(len(texts))
        return fake_states(texts)

    own, state = fake_encoder(states=states), torch.random.get_rng_state()
    reader = reader_of(own, templates, names, [], tmp_path, False, lessons)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(p.requires_grad for p in reader.parameters()) and not reader.training
    again = reader_of(own, templates, names, [], tmp_path, False, lessons)
    assert len(asked) == 1
    assert all(torch.equal(a, b) for a, b in zip(reader.parameters(), again.parameters(), strict=True))
    next(tmp_path.glob("reader-*.pt")).write_bytes(b"broken")
    reader_of(own, templates, names, [], tmp_path, False, lessons)
    assert len(asked) == 2


def test_names_are_known_by_their_words():
    asked = []
    vectors_of_names(["Film-Noir", "female_vocalists", "-", "Sci Fi"], lambda texts: asked.append(texts) or [[0.0]] * 4)
    assert asked == [["film noir", "female vocalists", "-", "sci fi"]]


def test_padding_does_not_change_what_is_read():
    torch.manual_seed(0)
    reader, names = IntentReader(8).eval(), torch.from_numpy(fake_vectors("abc"))
    short, long = fake_states(["no horror", "please show me some more good comedy tonight"])
    alone, _ = reader.read([short], names)
    together, _ = reader.read([short, long], names)
    assert torch.allclose(alone.flat()[0], together.flat()[0], atol=1e-5)


def test_an_attribute_is_read_alike_beside_any_others():
    torch.manual_seed(0)
    reader, names = IntentReader(8).eval(), torch.from_numpy(fake_vectors("abc"))
    states = fake_states(["no horror"])
    alone, _ = reader.read(states, names[1:2])
    among, _ = reader.read(states, names)
    assert torch.allclose(alone.presence[:, 0], among.presence[:, 1], atol=1e-5)
    assert torch.allclose(alone.sign[:, 0], among.sign[:, 1], atol=1e-5)


def test_nothing_is_taught_about_what_is_alike():
    """Of an attribute that a request may speak of, too, no lesson is drawn."""
    names = torch.from_numpy(fake_vectors("abc"))
    wishes, states = [Wish((0,))] * 64, KeptStates(fake_states(["some words"] * 64))
    read = []
    for alike in (False, True):
        close = np.zeros((3, 3), dtype=bool)
        close[0, 1] = alike
        torch.manual_seed(0)
        reader = IntentReader(8, dropout=0.0)
        known = Known(names, np.ones(3, dtype=bool), close, np.zeros((3, 0), dtype=int))
        teach(reader, states, wishes, known, Lessons(epochs=40), 1, False)
        read.append(torch.sigmoid(reader.read(fake_states(["some words"]), names)[0].presence[0]))
    assert read[0][0] > 0.9 and read[1][0] > 0.9  # spoken of
    assert read[0][1] < 0.1 and read[0][2] < 0.1 and read[1][2] < 0.1  # not spoken of
    assert read[1][1] > 2 * read[0][1]


def test_groups_are_asked_for_together():
    names = ["Comedy", "Drama", "Horror", "jazz", "rock", "blues"]
    _, wishes = make_requests(Templates(["en"]), names, [], 300, 1, [Group(range(3), 0.5), Group(range(3, 6), 0.5)])
    sides = {tuple(sorted({v // 3 for v in (*wish.want, *wish.avoid)})) for wish in wishes}
    assert sides == {(), (0,), (1,)}


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
    tokens = test._dataset.field2id_token["item_id"]
    assert attributes.years.tolist() == [0, *(1980 + 3 * int(one[1:]) if one != "i0" else 0 for one in tokens[1:])]
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


def test_placeholders_are_no_attributes(tmp_path):
    items = [(item, title, "unknown" if item == "i3" else genres) for item, title, genres in small_items()]
    _, _, _, test = build_data(make_config(write_dataset(tmp_path, "films", items=items)))
    data = test._dataset
    assert "unknown" not in data.attributes.names
    assert data.attributes.matrix[data.token2id("item_id", "i3")].nnz == 0


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
    known, losses = Known.all(torch.from_numpy(fake_vectors("ab"))), []
    for _ in range(2):
        torch.manual_seed(3)
        reader = IntentReader(8)
        losses.append(teach(reader, KeptStates(fake_states(texts)), wishes, known, Lessons(epochs=1), 5, False))
    assert losses[0] == losses[1]


def test_an_interrupted_teaching_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_instructrec.model.reading.lessons._KEPT_EVERY", 3)
    texts, wishes = make_requests(Templates(["en"]), ["Comedy", "Drama"], [], 300, 1)
    known, lessons = Known.all(torch.from_numpy(fake_vectors("ab"))), Lessons(epochs=3)

    class Stops(KeptStates):
        """Interrupted after some batches."""

        left = 10**9

        def of(self, batch):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().of(batch)

    def taught(stop, work=None):
        torch.manual_seed(3)
        reader, states = IntentReader(8), Stops(fake_states(texts))
        states.left = stop
        return reader, lambda: teach(reader, states, wishes, known, lessons, 5, False, work)

    whole, run = taught(10**9)
    loss = run()
    file = tmp_path / "teaching.pt"
    for stop in (5, 4):
        with pytest.raises(KeyboardInterrupt):
            taught(stop, file)[1]()
        assert file.is_file()
    again, run = taught(10**9, file)
    assert run() == pytest.approx(loss, abs=1e-6) and not file.exists()
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, again.state_dict()[name], atol=1e-6), name
