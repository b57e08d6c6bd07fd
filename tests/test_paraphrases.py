"""The wordings without the attribute's own words are what they are said to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from recbole_instructrec.data.instructions.wish import KINDS
from recbole_instructrec.data.instructions.words import TEMPLATES, Templates, plain_form
from recbole_instructrec.steering.nearness import NearTraining, content_words
from recbole_instructrec.steering.requests import PARAPHRASES

UNNAMED_DEV = Path(__file__).parents[1] / "benchmarks" / "unnamed_dev.yaml"
PARTS = yaml.safe_load(PARAPHRASES.read_text(encoding="utf-8"))
WORDINGS = {attribute: [text for part in PARTS.values() for text in part[attribute]] for attribute in PARTS["usual"]}


def test_there_are_many_and_none_names_its_attribute():
    assert sum(map(len, WORDINGS.values())) >= 250
    assert all(list(part) == list(PARTS["usual"]) for part in PARTS.values())
    texts = [text for wordings in WORDINGS.values() for text in wordings]
    assert len(set(texts)) == len(texts)
    for attribute, wordings in WORDINGS.items():
        for text in wordings:
            named = re.search(rf"\b{re.escape(attribute.removesuffix('s'))}", text.lower())
            assert named is None, f"{text!r} names {attribute}"


def test_what_is_near_training():
    near = NearTraining(Templates(["en"]))
    assert content_words("A good film about the singing of cowboys") == {"singi", "cowbo"}
    said = next(
        text for text in Templates(["en"]).phrases("Western", ("want", "avoid")) if len(content_words(text)) >= 4
    )
    assert near.unnamed(said.upper() + " And that would be all for the moment.", "Western")
    assert not near.unnamed(said, "Musical") and not near.unnamed("Counterfeiters of stamps, please.", "Crime")
    template = next(text for text in Templates(["en"]).sentences() if len(text.split()) == 6 and "<" not in text)
    assert near.template(f"{template} movies, please") and not near.template(
        "quixotic {a} bamboozles nobody hereabouts"
    )


def test_how_many_are_near_training():
    """The figures that the documents name."""
    near = NearTraining(Templates(["en"]))
    unnamed = {
        name: [near.unnamed(text, attribute) for attribute, texts in part.items() for text in texts]
        for name, part in PARTS.items()
    }
    kinds = yaml.safe_load((TEMPLATES / "en.yaml").read_text(encoding="utf-8"))
    held_out = [near.template(text) for kind in KINDS for text in kinds[kind]["held_out"]]
    said = (Path(__file__).parents[1] / "docs" / "steering.md").read_text(encoding="utf-8")
    for name, found in unnamed.items():
        assert f"{sum(found)} of the {len(found)} {name}" in said
    assert f"{sum(held_out)} of the {len(held_out)} held-out wordings" in said


def _trained(language: str, *parts: str) -> list[str]:
    """Words of training in some folders: clauses, or phrases and whole requests without the attribute's name."""
    found: list[str] = []
    for file in (TEMPLATES / part / f"{language}.yaml" for part in parts):
        stack = [yaml.safe_load(file.read_text(encoding="utf-8"))]
        while stack:
            content = stack.pop()
            if isinstance(content, str):
                found.append(content)
            else:
                stack.extend(content.values() if isinstance(content, dict) else content)
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))


def _in_fours(text: str) -> set[tuple[str, ...]]:
    """Four words in a row, at least two of which say something."""
    words = _words(text)
    fours = (tuple(words[i : i + 4]) for i in range(len(words) - 3))
    return {four for four in fours if sum(len(w) > 2 and w not in ENGLISH_STOP_WORDS for w in four) >= 2}


def _dev() -> list[str]:
    """Requests without their attribute's name that readers are chosen by."""
    content = yaml.safe_load(UNNAMED_DEV.read_text(encoding="utf-8"))
    return [text for sign in content.values() for texts in sign.values() for text in texts]


def test_nothing_is_near_a_measured_request_that_does_not_name_its_attribute():
    measured = [text for wordings in WORDINGS.values() for text in wordings]
    fours = set().union(*map(_in_fours, measured))
    sets, others = [set(_words(text)) for text in measured], [*_trained("en", "attributes"), *_dev()]
    assert len(others) > 4_000 and len(fours) > 500
    for text in others:
        assert not _in_fours(text) & fours, text
    for text in [*others, *_trained("en", "clauses")]:  # these are said of any attribute
        words = set(_words(text))
        if len(words) >= 4:
            assert all(len(words & other) <= 0.4 * len(words | other) for other in sets), text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_training_sentence_is_one_that_is_measured_with(language):
    kinds = yaml.safe_load((TEMPLATES / f"{language}.yaml").read_text(encoding="utf-8")).values()
    measured = {plain_form(text) for parts in kinds if isinstance(parts, dict) for text in parts.get("held_out", [])}
    assert len(measured) > 100
    assert not measured & {plain_form(text) for text in _trained(language, "clauses", "attributes")}
