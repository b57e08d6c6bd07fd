"""The wordings without the attribute's own words are what they are said to be."""

from __future__ import annotations

import re

import yaml

from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.steering.requests import PARAPHRASES, MetInTraining, content_words

WORDINGS = yaml.safe_load(PARAPHRASES.read_text(encoding="utf-8"))


def test_there_are_many_and_none_names_its_attribute():
    assert sum(map(len, WORDINGS.values())) >= 60
    texts = [text for wordings in WORDINGS.values() for text in wordings]
    assert len(set(texts)) == len(texts)
    for attribute, wordings in WORDINGS.items():
        for text in wordings:
            named = re.search(rf"\b{re.escape(attribute.removesuffix('s'))}", text.lower())
            assert named is None, f"{text!r} names {attribute}"


def test_what_training_has_met():
    met = MetInTraining(Templates(["en"]))
    assert content_words("A good film about the singing of cowboys") == {"singi", "cowbo"}
    assert met("Cowboys, please.", "Western")
    assert not met("Mobsters, please.", "Crime")
    assert met("any western", "Western")
