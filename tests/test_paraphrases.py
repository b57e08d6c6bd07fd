"""The wordings without the attribute's own words are what they are said to be."""

from __future__ import annotations

import re

import yaml

from recbole_instructrec.data.instructions.words import TEMPLATES, Templates
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
    assert not met("Pickpockets, please.", "Crime")
    assert met("any western", "Western")


def test_nothing_that_is_measured_with_is_trained_on():
    def plain(text: str) -> str:
        return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))

    trained: set[str] = set()
    for file in (TEMPLATES / part / "en.yaml" for part in ("clauses", "attributes")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content.pop("phrases", None)  # words for a thing, which anybody may use
        stack = [content]
        while stack:
            content = stack.pop()
            if isinstance(content, str):
                trained.add(plain(content))
            else:
                stack.extend(content.values() if isinstance(content, dict) else content)
    kinds = yaml.safe_load((TEMPLATES / "en.yaml").read_text(encoding="utf-8")).values()
    measured = [text for parts in kinds if isinstance(parts, dict) for text in parts.get("held_out", [])]
    measured += [text for wordings in WORDINGS.values() for text in wordings]
    assert len(trained) > 5000 and len(measured) > 150
    assert not trained & {plain(text) for text in measured}
