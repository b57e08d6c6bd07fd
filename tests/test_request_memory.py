"""Remembered requests: votes, how they are weighed, and that the package's own are those of the words here."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch.nn import functional as F

from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import Intent
from recbole_instructrec.model.reading.memory import Judgement, RequestMemory, whole_of
from recbole_instructrec.model.reading.readers import packaged
from recbole_instructrec.model.text import PACKAGED_NAME
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.steering.requests import PARAPHRASES
from tests.support import build_all, make_config

#: The reader alone, and votes alone.
READER = Judgement(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 5.0)
VOTES = Judgement(0.0, 1.0, 0.0, 0.7, 0.0, 1.0, 0.0, 5.0)


def paraphrases():
    """The sets of requests that are measured with."""
    return yaml.safe_load(PARAPHRASES.read_text(encoding="utf-8"))


def memory(judgement, names=("Comedy", "Horror", "1990s")):
    vectors = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0]]), dim=1)
    tone = torch.tensor([2.0, -2.0, 0.0, 0.5])
    return RequestMemory(vectors, torch.tensor([0, 0, 1]), ["comedy", "horror"], tone, judgement, names)


def intent(*presence):
    n = len(presence)
    return Intent(torch.tensor([presence]), torch.full((1, n), -0.3), torch.zeros(1, 3))


def test_votes_are_of_the_nearest_and_fall_with_distance():
    share, near = memory(VOTES).votes(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert share.shape == (2, 3) and torch.allclose(share.sum(1), torch.ones(2))
    assert share[0, 0] > 0.999 and share[0, 2] == 0 and near[0] == pytest.approx(1.0)
    assert share[1, 0] == pytest.approx(2 / 3) and near[1] == 0.0  # none is near: all vote alike


def test_votes_decide_where_the_reader_is_not_sure():
    read = memory(VOTES)(intent(-4.0, 0.5, 0.5), torch.tensor([[1.0, 0.0, 0.0]]))
    assert read.presence[0, 0] > 0 > read.presence[0, 1]
    assert read.presence[0, 2] == 0.5 and read.sign[0, 2] == pytest.approx(-0.3)  # nothing is remembered of decades
    assert read.sign[0, 0] == pytest.approx(2.5)  # the tone of the text as a whole
    sure = memory(VOTES)(intent(-4.0, 5.5, 0.5), torch.tensor([[1.0, 0.0, 0.0]]))
    assert sure.presence[0, 1] == 5.5


def test_attributes_are_known_by_their_names():
    names = ("1990s", "HORROR", "Cookbooks")
    read = memory(VOTES, names)(intent(0.1, -3.0, 0.2), torch.tensor([[0.0, 1.0, 0.0]]))
    assert read.presence[0, 1] > 0 and read.presence[0, [0, 2]].tolist() == pytest.approx([0.1, 0.2])
    same = intent(0.3, -0.2, 1.0)
    plain = memory(READER)(same, torch.tensor([[0.0, 1.0, 0.0]]))
    assert torch.allclose(plain.flat(), same.flat())


def test_what_is_remembered_has_a_hash_and_comes_back():
    one = memory(VOTES)
    stored = RequestMemory.plain(one.vectors, one.about, ["comedy", "horror"], one.tone, VOTES)
    again = RequestMemory.of(stored, ["Comedy", "Horror", "1990s"])
    assert again.fingerprint == one.fingerprint != memory(READER).fingerprint
    whole = torch.tensor([[0.6, 0.8, 0.0]])
    assert torch.allclose(
        again(intent(0.0, 0.0, 0.0), whole).flat(), one(intent(0.0, 0.0, 0.0), whole).flat(), atol=1e-2
    )
    assert not list(one.state_dict())  # it comes with the package, not with checkpoints


def test_the_packaged_memory_is_of_the_words_that_are_here():
    encoder = FrozenTextEncoder(PACKAGED_NAME, 64, None, False)
    found = packaged(encoder.weights, ["en"])
    requests = Templates(["en"]).requests()
    about = found["about"]["memory"]
    assert about["templates"] == Templates(["en"]).fingerprint, "words were changed: run tools/remember_requests.py"
    assert about["commit"] and about["dirty"] is False and about["requests"] + about["left_out"] == len(requests)
    kept = RequestMemory.of(found["memory"], ["Comedy", "Horror"])
    assert len(kept.vectors) == about["requests"]
    adapted = FrozenTextEncoder(PACKAGED_NAME, 64, None, False, found["adapter"])
    some = [requests[place][2] for place in (0, 3000, len(requests) - 1)]
    vectors = torch.from_numpy(adapted.encode(some))
    assert (vectors @ kept.vectors.T).amax(1).min() > 0.999
    for name, near in (
        ("usual", 0),
        ("uncommon", 0),
        ("fresh", 3),
    ):  # nothing is looked up; docs/steering.md tells of three
        measured = [text for texts in paraphrases()[name].values() for text in texts]
        assert ((torch.from_numpy(adapted.encode(measured)) @ kept.vectors.T).amax(1) > 0.81).sum() <= near
    states = adapted.token_states(some)
    assert torch.allclose(whole_of(states), vectors, atol=2e-3)


def test_requests_without_the_attributes_name_are_heard(films):
    """Written for this test alone; the reader of tokens by itself misses some of such requests."""
    model, *_ = build_all(make_config(films))
    said = [
        "I want to be scared out of my wits, ghosts and cellars and all",
        "two hours of silly jokes please, my week was awful",
        "the trenches, the mud, and a letter home from the front",
        "what is the weather like in Lisbon",
        "a funny movie with plenty of zombies",
        "something funny but no zombies",
    ]
    understood = model.eval().understood(model.hear(said))
    heard = [sorted((one.attribute, one.sign) for one in told.asked) for told in understood]
    # In two minds about the first: heard as wanted by far, as avoided a little.
    surest, *others = understood[0].asked
    assert (surest.attribute, surest.sign) == ("Horror", "want") and surest.confidence > 0.7
    assert all(one.attribute == "Horror" and one.confidence < 0.3 for one in others)
    two = [[("Comedy", "want"), ("Horror", "want")], [("Comedy", "want"), ("Horror", "avoid")]]
    assert heard[1:] == [[("Comedy", "want")], [("War", "want")], [], *two]
    assert model.intent.memory.fingerprint in model.intent.comes_with


def test_half_precision_around_it_changes_nothing(films):
    model, *_ = build_all(make_config(films))
    said = ["two hours of silly jokes please, my week was awful"]
    plain = model.eval().hear(said).intent.flat()
    with torch.autocast("cpu", torch.bfloat16):
        states = model.intent._encoder.token_states(said)
        read = model.intent.memory(Intent(*[part.bfloat16() for part in model.hear(said).intent]), whole_of(states))
    assert torch.isfinite(read.flat()).all() and plain.shape == read.flat().shape


@pytest.mark.parametrize("name", ["Sci-Fi", "sci fi", "SCI_FI"])
def test_names_may_be_written_otherwise(name):
    vectors = torch.eye(3)
    one = RequestMemory(vectors, torch.tensor([0, 0, 0]), ["sci-fi"], torch.zeros(4), VOTES, [name])
    assert one.columns.tolist() == [0]
