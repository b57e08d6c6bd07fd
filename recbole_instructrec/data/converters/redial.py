"""ReDial: people who ask each other for films, in their own words.

Each example is one recommendation that was taken up. The *user* is the seeker,
the *instruction* is everything that the seeker had said in that dialogue before
the film was first named, the *history* is what the seeker had liked in earlier
dialogues and named as liked in this one before that message, in the order in
which it was first named, and the *target* is a film that the other side named
first and that was suggested and liked.
Nothing of the message that first names the target, and nothing after it, is
part of an example; a target that either side had named in words, without its
number, is left out. Whether a film was liked stands in the questionnaire that
both fill in after the dialogue.

The dialogues at hand are put in their order of time and split anew (80, 10 and
10 percent), so figures are not those of ReDial's official split.

References
----------
Li et al., Towards Deep Conversational Recommendations, NeurIPS 2018
(https://redialdata.github.io/website/).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_instructrec.data.converters.atomic import ConversionError, parse_json, read_json_object, write_atomic_file
from recbole_instructrec.data.words import COMMON, plain_words

_MENTION = re.compile(r"@([0-9]+)")
_NUMBER = re.compile(r"[0-9]{1,18}")  # "²" is a digit for str.isdigit, but no number
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")

#: Share of the dialogues, in their order of time, that end training and validation.
_PARTS = (("train", 0.8), ("valid", 0.9), ("test", 1.0))

#: Official name of the file with most of the dialogues.
_TRAINING = "train_data.jsonl"

#: Words of any talk about films: "It" and "Saw" are titles only where they are written as such.
_TALK = COMMON | {"saw"}


@dataclass
class Example:
    """One recommendation.

    Attributes
    ----------
    user : str
        The seeker.
    target : str
        The film that was recommended and liked.
    history : list of str
        Films, in the order in which they were first named; one that is liked again keeps its place.
    said : list of str
        What the seeker had said in this dialogue, a message each.
    """

    user: str
    target: str
    history: list[str]
    said: list[str]


@dataclass
class Report:
    """What was read and what was left out, with the reason."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def skip(self, reason: str, where: str) -> None:
        """Count something that is left out; the first of its kind is kept as an example."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, where)

    def log(self) -> None:
        """One line for each kind."""
        for reason, count in self.counts.items():
            getLogger().warning(f"{count} {reason} (such as {self.examples[reason]}).")


def convert(source: Path, output: Path, name: str = "redial", history_length: int = 50) -> dict[str, int]:
    """Convert the official files.

    Parameters
    ----------
    source : Path
        Folder with the dialogues (``*.jsonl``), ``movies_with_mentions.csv`` and
        ``id2info.json`` (optional: genre, plot, director and stars of each film).
    output : Path
        Data folder; ``output/name`` is written.
    name : str
        Of the data set.
    history_length : int
        Longest history that is written.

    Returns
    -------
    dict of str to int
        Counts of dialogues, users, items and examples of each part.

    Raises
    ------
    ConversionError
        When a file is missing or has nothing that can be used; names the line and the field.
    """
    report = Report()
    dialogues = read_dialogues(source, report)
    films = read_films(source, dialogues, report)
    parts = examples_by_part(dialogues, films, report)
    empty = [part for part, examples in parts.items() if not examples]
    if empty:
        raise ConversionError(
            f"{source}: no recommendation that was named first by the other side, suggested and liked, was found in "
            f"the part {empty[0]}. Are these ReDial's files?"
        )
    folder = output / name
    texts: dict[str, str] = {}
    counts = {"dialogues": len(dialogues)}
    for part, examples in parts.items():
        rows = []
        for example in examples:
            text = instruction_text(example.said, films)
            number = texts.setdefault(text, str(len(texts) + 1)) if text else ""
            rows.append((example.user, example.target, " ".join(example.history[-history_length:]), number))
        header = ("user_id:token", "item_id:token", "item_id_list:token_seq", "instruction_id:token")
        counts[part] = write_atomic_file(folder / f"{name}.{part}.inter", header, rows)
    counts["items"] = write_atomic_file(
        folder / f"{name}.item",
        (
            "item_id:token",
            "movie_title:token_seq",
            "release_year:token",
            "genre:token_seq",
            "director:token_seq",
            "star:token_seq",
            "plot:token_seq",
        ),
        ((film, *films[film].cells()) for film in sorted(films, key=int)),
    )
    counts["instructions"] = write_atomic_file(
        folder / f"{name}.inst",
        ("instruction_id:token", "instruction:token_seq"),
        ((number, text) for text, number in texts.items()),
    )
    counts["users"] = len({example.user for examples in parts.values() for example in examples})
    report.log()
    return counts


# --- dialogues -------------------------------------------------------------------------------


def read_dialogues(source: Path, report: Report) -> list[dict[str, Any]]:
    """All dialogues in their order of time; of several with one number the first is taken.

    What each file holds is logged, and that the training file is missing.

    Raises
    ------
    ConversionError
        When there is no file, or no line of a file can be used.
    """
    files = sorted(source.glob("*.jsonl"))
    if not files:
        raise ConversionError(f"{source}: there is no *.jsonl file. Give the folder that holds ReDial's dialogues.")
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        usable = again = 0
        problem = ""
        for number, line in enumerate(_lines(file), 1):
            where = f"{file.name}, line {number}"
            if not line.strip():
                continue
            try:
                dialogue = parse_json(line)
            except ValueError as error:
                fault = f"not JSON: {error}"
            else:
                fault = _fault(dialogue)
            if fault:
                problem = problem or f"{where}: {fault}"
                report.skip("broken lines are left out", f"{where}: {fault}")
                continue
            usable += 1
            key = str(int(dialogue["conversationId"]))  # 200 and "200" are one dialogue
            if key in found:
                again += 1
                report.skip("dialogues occur again and are left out", where)
            else:
                found[key] = dialogue
        getLogger().info(f"{file.name}: {usable} dialogues, {again} of them duplicates")
        if not usable:
            raise ConversionError(f"{problem or f'{file.name} is empty'}. No line of it can be used.")
    if all(file.name != _TRAINING for file in files):
        getLogger().warning(f"{_TRAINING}, the official training file, is not in {source}: only a part is converted.")
    return [found[number] for number in sorted(found, key=int)]


def _lines(file: Path) -> Iterator[str]:
    with open(file, encoding="utf-8", errors="replace") as stream:
        yield from stream


def _fault(dialogue: Any) -> str:
    """What is wrong with a line, naming the field; empty when nothing is."""
    if not isinstance(dialogue, dict):
        return f"a dialogue is expected, not {type(dialogue).__name__}"
    if not _NUMBER.fullmatch(str(dialogue.get("conversationId", ""))):
        return "field conversationId: a number is expected"
    for name in ("initiatorWorkerId", "respondentWorkerId"):
        if not isinstance(dialogue.get(name), int):
            return f"field {name}: a number is expected"
    messages = dialogue.get("messages")
    if not isinstance(messages, list):
        return "field messages: a list is expected"
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("text"), str):
            return f"field messages[{number}].text: a text is expected"
        if not isinstance(message.get("senderWorkerId"), int):
            return f"field messages[{number}].senderWorkerId: a number is expected"
    for name in ("movieMentions", "initiatorQuestions", "respondentQuestions"):
        value = dialogue.get(name)
        if value == []:  # PHP's way to write an empty object
            dialogue[name] = {}
        elif not isinstance(value, dict):
            return f"field {name}: an object is expected"
    for name in ("initiatorQuestions", "respondentQuestions"):
        if not all(isinstance(answers, dict) for answers in dialogue[name].values()):
            return f"field {name}: an object of answers for each film is expected"
    return ""


# --- films -----------------------------------------------------------------------------------


@dataclass
class Film:
    """What is known of a film."""

    title: str
    year: str = ""
    genre: tuple[str, ...] = ()
    director: tuple[str, ...] = ()
    star: tuple[str, ...] = ()
    plot: str = ""

    def cells(self) -> tuple[str, ...]:
        """Title, year, genres, directors, stars, plot; names of several words are joined with hyphens."""
        lists = (self.genre, self.director, self.star)
        joined = (" ".join("-".join(value.split()) for value in values) for values in lists)
        return (self.title, self.year, *joined, self.plot)

    @property
    def full_title(self) -> str:
        """Title with its year, as people write it."""
        return f"{self.title} ({self.year})" if self.year else self.title


def film_of(name: str) -> Film:
    """Title and year of a name such as ``Jaws (1975)``."""
    year = _YEAR.search(name)
    return Film(" ".join(_YEAR.sub("", name).split()), year.group(1) if year else "")


def read_films(source: Path, dialogues: list[dict[str, Any]], report: Report) -> dict[str, Film]:
    """Films that the list or a dialogue names, by number.

    Raises
    ------
    ConversionError
        When a file is missing or damaged; names the line and the field.
    """
    films: dict[str, Film] = {}
    listed = source / "movies_with_mentions.csv"
    if not listed.is_file():
        raise ConversionError(f"{source}: movies_with_mentions.csv, the list of films, is missing.")
    for line, number, name in _listed_films(listed):
        if not _NUMBER.fullmatch(number) or not name.strip():
            report.skip("films of the list have no number or no name", f"{listed.name}, line {line}")
            continue
        films[number] = film_of(name)
    for dialogue in dialogues:
        for number, name in dialogue["movieMentions"].items():
            if number in films:
                continue
            if not _NUMBER.fullmatch(number) or not isinstance(name, str) or not name.strip():
                where = f"dialogue {dialogue['conversationId']}, film {number}"
                report.skip("films of dialogues have no number or no name", where)
                continue
            films[number] = film_of(name)
    known = source / "id2info.json"
    if known.is_file():
        for number, info in read_json_object(known).items():
            details = _details(info, f"{known.name}, film {number}", report)
            if number in films:
                films[number] = replace(films[number], **details)
    return films


def _listed_films(file: Path) -> Iterator[tuple[int, str, str]]:
    """Line, number and name of each film of the list.

    A quote that is not closed takes the lines after it into its cell: that is an error.
    """
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as stream:
        table = csv.DictReader(stream, strict=True)
        line = 1
        try:
            if not {"movieId", "movieName"} <= set(table.fieldnames or ()):
                raise ConversionError(f"{file.name}, line 1: the columns movieId and movieName are expected.")
            line = table.line_num + 1
            for row in table:
                if any("\n" in str(cell) for cell in row.values()):
                    raise csv.Error("a cell goes on in the next line")
                yield line, row["movieId"] or "", row["movieName"] or ""
                line = table.line_num + 1
        except csv.Error as error:
            raise ConversionError(
                f"{file.name}, line {line}: {error}. Look for a quote that is opened there and not closed."
            ) from error


def _details(info: Any, where: str, report: Report) -> dict[str, Any]:
    """Genre, director, stars and plot as ``id2info.json`` has them, without those of another form."""
    if not isinstance(info, dict):
        report.skip("films have details that are no object: left out", where)
        return {}
    details: dict[str, Any] = {}
    for key in ("genre", "director", "star"):
        names = info.get(key) or []
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            details[key] = tuple(name for name in names if name.strip())
        else:
            report.skip("genres, directors or stars of a film are no list of names: left out", f"{where}, field {key}")
    plot = info.get("plot") or ""
    if isinstance(plot, str):
        details["plot"] = plot
    else:
        report.skip("plots are no text: left out", f"{where}, field plot")
    return details


# --- examples --------------------------------------------------------------------------------


def examples_by_part(
    dialogues: list[dict[str, Any]], films: dict[str, Film], report: Report
) -> dict[str, list[Example]]:
    """Examples of training, validation and test: the first 80%, the next 10% and the last 10% of the dialogues."""
    parts: dict[str, list[Example]] = {part: [] for part, _ in _PARTS}
    liked_before: dict[str, list[str]] = {}
    for index, dialogue in enumerate(dialogues):
        part = next(part for part, end in _PARTS if (index + 0.5) / len(dialogues) < end)
        seeker = str(dialogue["initiatorWorkerId"])
        earlier = liked_before.setdefault(seeker, [])
        parts[part].extend(examples_of(dialogue, earlier, films, report))
        earlier.extend(film for film in _named_in_order(dialogue["messages"]) if _says(dialogue, film, "liked"))
    return parts


def examples_of(
    dialogue: dict[str, Any], earlier: Iterable[str], films: dict[str, Film], report: Report
) -> Iterator[Example]:
    """The recommendations of one dialogue.

    Parameters
    ----------
    dialogue : dict
        One line of ReDial.
    earlier : iterable of str
        Films that the seeker liked in earlier dialogues.
    films : dict of str to Film
        Their titles.
    report : Report
        Counts what is left out.

    Yields
    ------
    Example
    """
    seeker = dialogue["initiatorWorkerId"]
    if seeker == dialogue["respondentWorkerId"]:
        report.skip("dialogues have one voice only", f"dialogue {dialogue['conversationId']}")
        return
    said: list[str] = []
    texts: list[str] = []
    named: list[str] = []
    own: list[str] = []
    for message in dialogue["messages"]:
        new = [film for film in _named_in_order([message]) if film not in named]
        if message["senderWorkerId"] == seeker:
            said.append(message["text"])
            own.extend(film for film in new if _says(dialogue, film, "liked"))
        else:
            for film in new:
                if _says(dialogue, film, "suggested") and _says(dialogue, film, "liked"):
                    # The same film under another number, or named without its number, gives the target away.
                    if _given_away(film, films, named, texts):
                        report.skip("targets had been named before, in words or under another number", f"film {film}")
                        continue
                    yield Example(str(seeker), film, list(dict.fromkeys([*earlier, *own])), list(said))
        texts.append(message["text"])
        named.extend(new)


def _says(dialogue: dict[str, Any], film: str, what: str) -> bool:
    """What the seeker answered about a film; the other side's answer where the seeker gave none."""
    for form in ("initiatorQuestions", "respondentQuestions"):
        answers = dialogue[form].get(film)
        if answers is not None:
            return answers.get(what) == 1
    return False


def _named_in_order(messages: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(film for message in messages for film in _MENTION.findall(message["text"])))


def _given_away(film: str, films: dict[str, Film], named: list[str], texts: list[str]) -> bool:
    """Whether a film's title had been said before, with or without its number, by either side."""
    if film not in films:
        return False
    title = _bare(films[film].title)
    if not title:
        return False
    if any(_bare(films[other].title) == title for other in named if other in films):
        return True
    if len(title) <= 5 and _TALK.issuperset(title.split()):
        exact = re.compile(rf"(?<!\w){re.escape(films[film].title.strip())}(?!\w)")
        return any(exact.search(text) for text in texts)
    return any(f" {title} " in f" {_bare(text)} " for text in texts)


def _bare(text: str) -> str:
    """Words of a title or a sentence as people also spell them, without year and article."""
    words = plain_words(_YEAR.sub("", text))
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words)


def instruction_text(said: Iterable[str], films: dict[str, Film]) -> str:
    """What the seeker said, with the titles of the films that were mentioned by number."""

    def title(match: re.Match[str]) -> str:
        film = films.get(match.group(1))
        return film.full_title if film else ""

    return " ".join(" ".join(_MENTION.sub(title, text).split()) for text in said).strip()
