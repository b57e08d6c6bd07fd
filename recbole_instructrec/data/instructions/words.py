"""The words of synthesised instructions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_instructrec.data.instructions.bank import InstructionError
from recbole_instructrec.data.words import words_of

TEMPLATES = Path(__file__).parents[1] / "templates"
_NAME = re.compile(r"<(\w+)>")
_DECADE = re.compile(r"\d{3}0s")

# Folders of what training requests are put together from, a file a language in each; a language need not have all.
_PARTS = ("grammar", "clauses", "attributes", "vocabulary")

# Share of training wordings that are put together; the others are whole templates.
_COMPOSED = 0.9

# Share of clauses whose words are drawn; the others are idioms as they stand.
_PATTERNS = 0.4

# Share of clauses that are said in the usual few words, where a language lists them.
_COMMON = 0.3

# Share of wishes and avoidances in words that do not name the value, where a language has such.
_UNNAMED = 0.35

# Drawings of a training request that must not be one that is measured with.
_TRIES = 50

# Share of values with a noun around them ("comedy films"), and of requests that are typed in a hurry ("dont").
_FRAMED, _HURRIED = 0.4, 0.08


class Templates:
    """Templates of one or more languages.

    Parameters
    ----------
    languages : sequence of str
        Names of files in ``data/templates``, and in its folders: ``grammar`` (how sentences are put together),
        ``clauses`` (sentences as they stand), ``attributes`` (what people call those of films) and ``vocabulary``
        (attributes of other things, that a reader for any catalogue is taught with).

    Raises
    ------
    InstructionError
        For a language that has no file.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = list(languages)
        self._languages: list[dict[str, Any]] = []
        content = []
        for language in languages:
            file = TEMPLATES / f"{language}.yaml"
            if not file.is_file():
                known = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.yaml")))
                raise InstructionError(f"instruction_language: there are no templates for {language!r}, only {known}.")
            parts = [file.read_bytes()]
            parts += [more.read_bytes() for more in (TEMPLATES / part / file.name for part in _PARTS) if more.is_file()]
            content += parts
            self._languages.append({})
            for part in parts:
                self._languages[-1].update(yaml.load(part.decode("utf-8"), _Loader))
            things = self._languages[-1].get("vocabulary", {}).values()
            self._languages[-1]["things"] = {
                name.lower(): phrases for named in things for name, phrases in named.items()
            }
            self._languages[-1]["measured"] = _measured(self._languages[-1])
        self.fingerprint = hashlib.sha256(b"\n".join(content)).hexdigest()

    def texts(self, kind: str, part: str, values: Sequence[str]) -> list[str]:
        """Every whole template of a kind filled with the given values.

        Parameters
        ----------
        kind : str
            One of :data:`wish.KINDS`, or history, history_single, history_title.
        part : {"train", "dev", "held_out"}
            Words of training, words to choose by, or words kept for evaluation.
        values : sequence of str
            For ``{a}``, ``{b}`` and ``{c}``.

        Returns
        -------
        list of str
            One text a template.
        """
        filled: list[str] = []
        for language in self._languages:
            said = [language.get("values", {}).get(value.lower(), value) for value in values]
            names = dict(zip("abc", said, strict=False))
            filled.extend(template.format(**names) for template in language[kind][part])
        return filled

    def phrases(self, value: str, signs: Sequence[str] = ("want",)) -> list[str]:
        """What training says of a value without naming it, in all languages: phrases, and whole requests of some signs.

        Parameters
        ----------
        value : str
            An attribute.
        signs : sequence of {"want", "avoid"}
            Which requests.

        Returns
        -------
        list of str
        """
        found: list[str] = []
        for language in self._languages:
            found += language.get("phrases", {}).get(value.lower(), [])
            requests = language.get("requests", {}).get(value.lower(), {})
            found += [text for sign in signs for text in requests.get(sign, [])]
        return found

    def requests(self) -> list[tuple[str, str, str]]:
        """Whole requests of training that do not name what they speak of: value in lower case, sign, text."""
        return [
            (value, sign, text)
            for language in self._languages
            for value, said in language.get("requests", {}).items()
            for sign in ("want", "avoid")
            for text in said.get(sign, [])
        ]

    def sentences(self) -> list[str]:
        """What training says of any value, with places for it: templates, clauses, common sentences, patterns."""
        found: list[str] = []
        for language in self._languages:
            found += [text for parts in language.values() if isinstance(parts, dict) for text in parts.get("train", [])]
            for folder in ("clauses", "common", "patterns"):
                found += [text for said in language.get(folder, {}).values() for text in said]
        return found

    def values(self) -> list[str]:
        """The values, in lower case, that have other words in training requests."""
        return list(dict.fromkeys(value for language in self._languages for value in language.get("phrases", {})))

    def vocabulary(self) -> dict[str, dict[str, list[str]]]:
        """Attributes of many kinds of things: by domain, by name, other words for them."""
        found: dict[str, dict[str, list[str]]] = {}
        for language in self._languages:
            for domain, named in language.get("vocabulary", {}).items():
                found.setdefault(domain, {}).update(named)
        return found

    def aside(self, rng: np.random.Generator) -> str:
        """Something that is said beside requests and asks for nothing."""
        words = _Words(self._languages[rng.integers(len(self._languages))], rng)
        return words.finish(words.part("asides"))

    def others(self, values: Sequence[str]) -> list[str]:
        """What a request may name that is none of the given values, in all languages."""
        taken = {word for value in values for word in value.lower().split()}
        named = [other for language in self._languages for other in language["others"]]
        return [other for other in named if not taken & set(other.lower().split())]

    def compose(self, kind: str, values: Sequence[str], rng: np.random.Generator) -> str:
        """One training wording of a request: a whole template, or clauses put together; values in other words, too.

        Parameters
        ----------
        kind : str
            One of :data:`wish.KINDS`, or ``past``: a sentence that asks for nothing.
        values : sequence of str
            For ``{a}``, ``{b}`` and ``{c}``.
        rng : Generator
            Draws the words.

        Returns
        -------
        str
            The request.
        """
        language = self._languages[rng.integers(len(self._languages))]
        for _ in range(_TRIES):
            words = _Words(language, rng)
            alone = text = words.request(kind, values)
            while words.chance(0.3):  # other sentences stand around a request, and ask for nothing
                text = words.join(text, words.part("asides"))
            if not {plain_form(said, words.bare) for said in (alone, text)} & language["measured"]:
                break
        return words.finish(text)


@lru_cache(maxsize=8)
def names_in(language: str) -> dict[str, str]:
    """How attribute values are called in a language, by their lower-case names; empty where they keep their own."""
    content = yaml.load((TEMPLATES / f"{language}.yaml").read_text(encoding="utf-8"), _Loader)
    return dict(content.get("values", {}))


def plain_form(text: str, values: Sequence[str] = ("{a}", "{b}", "{c}")) -> str:
    """What stays of a wording without case, punctuation and values: two that have it in common are the same wording.

    Parameters
    ----------
    text : str
        A template, or a request.
    values : sequence of str
        What stands in the places of its values.

    Returns
    -------
    str
        Words, and ``_`` for each value.
    """
    text = text.lower()
    for value in sorted(values, key=len, reverse=True):
        whole = re.escape(value.lower())
        text = re.sub(rf"(?<![a-z0-9_]){whole}(?![a-z0-9_])", " _ ", text)
    return " ".join(words_of(text.replace("'", "").replace("-", " ")))


def _measured(language: dict[str, Any]) -> set[str]:
    """Wordings that readers are chosen by or measured with."""
    kinds = [parts for parts in language.values() if isinstance(parts, dict)]
    return {plain_form(text) for parts in kinds for part in ("dev", "held_out") for text in parts.get(part, ())}


class _Words:
    """Clauses of one language put together; a method for each kind of request."""

    def __init__(self, language: dict[str, Any], rng: np.random.Generator) -> None:
        self.language, self.rng = language, rng
        self.meant: dict[str, str] = {}  # which value is said by some words
        self.bare: list[str] = []  # words for values without the nouns around them
        self._clauses, self._patterns = language["clauses"], language["patterns"]

    def pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.random() * len(options))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def request(self, kind: str, values: Sequence[str]) -> str:
        """A request of a kind: a whole template, or clauses put together."""
        said = [self.value(value) for value in values]
        self.meant.update(zip(said, values, strict=True))
        whole = self.language.get(kind, {}).get("train", [])
        if whole and self.rng.random() >= _COMPOSED:
            return self.pick(whole).format(**dict(zip("abc", said, strict=False)))
        return str(getattr(self, kind)(*said))

    def part(self, name: str, **slots: str) -> str:
        """A clause or a pattern of a name with its places filled."""
        idioms, patterns = self._clauses.get(name, []), self._patterns.get(name, [])
        common = self.language.get("common", {}).get(name, [])
        if common and self.chance(_COMMON):
            return self.pick(common).format(**slots)
        text = self.pick(patterns if patterns and (not idioms or self.chance(_PATTERNS)) else idioms)
        while "<" in text:
            text = _NAME.sub(lambda match: self.pick(self.language["words"][match.group(1)]), text)
        return text.format(**slots)

    def clause(self, name: str, a: str) -> str:
        """A clause of a name about one value; or, where there are such, a whole request that does not name it."""
        unnamed = self.language.get("requests", {}).get(self.meant.get(a, "").lower(), {}).get(name, [])
        return self.pick(unnamed) if unnamed and self.chance(_UNNAMED) else self.part(name, a=a)

    def _has(self, name: str) -> bool:
        return name in self._clauses or name in self._patterns

    def value(self, value: str) -> str:
        """A value in one of the ways it is said."""
        usual = self.language.get("values", {}).get(value.lower(), value)
        decade = _DECADE.fullmatch(value)
        thing = self.language["things"].get(value.lower())
        phrases = thing or self.language.get("phrases", {}).get(value.lower(), [])
        if not decade and self.chance(0.5):
            usual = usual.replace("-", " ").replace("_", " ")
        if phrases and self.chance(0.45):
            usual = self.pick(phrases)
            if not decade:  # "nineties" has nouns around it, too
                self.bare.append(usual)
                return usual
        if self.chance(0.6):
            usual = usual.lower()
        self.bare.append(usual)
        if self.chance(_FRAMED):
            frames = "decade_frames" if decade else "frames" if thing is None else "thing_frames"
            usual = self.pick(self.language[frames]).format(a=usual)
        return usual

    def finish(self, text: str) -> str:
        """As someone would type it."""
        text = _tidy(text)  # nothing is left of a value such as a comma
        if self.chance(0.4):
            text = text[:1].upper() + text[1:]
        if self.chance(_HURRIED):
            text = text.replace("'", "").replace(",", "")
        if text.isascii() and text[-1:].isalnum() and self.chance(0.45):
            text += self.pick([".", ".", ".", "!", "...", "!!"])
        return text

    def join(self, first: str, second: str, swap: float = 0.4) -> str:
        if self.chance(swap):
            first, second = second, first
        return self.part("joints", x=first, y=second)

    def intent(self, a: str) -> str:
        return self.clause("want", a)

    def avoid(self, a: str) -> str:
        return self.clause("avoid", a)

    def both(self, a: str, b: str) -> str:
        if self._has("both_of") and self.chance(0.35):
            return self.part("both_of", a=a, b=b)
        return self.part("want", a=self.part("pair", a=a, b=b))

    def but_not(self, wanted: str, b: str) -> str:
        way = self.rng.random()
        if way < 0.45:
            return self.join(self.clause("want", wanted), self.clause("avoid", b))
        if way < 0.75:
            return self.part("contrast", a=wanted, b=b)
        return self.part("want", a=f"{wanted} {self.pick(self._clauses['but'])} {b}")

    def both_but_not(self, a: str, b: str, c: str) -> str:
        if self._has("contrast_two") and self.chance(0.3):
            return self.part("contrast_two", a=a, b=b, c=c)
        return self.but_not(self.part("pair", a=a, b=b), c)

    def neither(self, a: str, b: str) -> str:
        if self.chance(0.4):
            return self.part("avoid", a=self.part("either", a=a, b=b))
        return self.part("either_of", a=a, b=b, x=self.clause("avoid", a), y=self.clause("avoid", b))

    def past(self, a: str, b: str = "") -> str:
        if not b:
            return self.part("past", a=a)
        if self.chance(0.6):
            return self.part("past", a=self.part("pair", a=a, b=b))
        return self.join(self.part("past", a=a), self.part("past", a=b))

    def little(self, a: str) -> str:
        return self._degree("little", a)

    def only(self, a: str) -> str:
        return self._degree("only", a)

    def _degree(self, name: str, a: str) -> str:
        if self.chance(0.8):
            return self.part(name, a=a)
        return self.part("want", a=self.pick(self._clauses[name]).format(a=a))


def _tidy(text: str) -> str:
    """Spaces, contractions and agreement after words were drawn."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ('|[,.?!;])", r"\1", text)
    text = re.sub(r"(?<=[.?!])[,;]", "", text)
    text = re.sub(r"(?<!\b[iI]) am\b", " are", text)
    return text.strip(" ,") or text


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The quick YAML reader where it is there: the grammars are long."""
