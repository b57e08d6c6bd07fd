"""Where an instruction comes from.

An instruction belongs to a position of the history: it is what the user said
before that next item. Distinct texts are kept once in an
:class:`InstructionBank`; rows carry their numbers.

=========== ================================================== ====================
source      text                                               sees the target
=========== ================================================== ====================
``none``    no instruction                                     no
``history`` a sentence about the user's earlier interactions   no
``file``    a real text that came with the data                as the data has it
``intent``  asks for one attribute of the target               yes (an oracle)
``shuffled`` the instruction of another user                   no (a control)
=========== ================================================== ====================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from scipy.sparse import csr_matrix

from recbole_instructrec.data.history import History
from recbole_instructrec.data.items import Attributes
from recbole_instructrec.options import listed

SOURCES = ("none", "history", "intent", "file", "shuffled")
TEMPLATES = Path(__file__).parent / "templates"


class InstructionError(ValueError):
    """An instruction source cannot be had from this data set."""


class InstructionBank:
    """Distinct instruction texts and what they ask for.

    Attributes
    ----------
    texts : list of str
        Number 0 is the empty instruction.
    asked : list of tuple of int or None
        Attribute numbers that each text asks for; None where it is not known
        (a real text).
    """

    def __init__(self) -> None:
        self.texts: list[str] = [""]
        self.asked: list[tuple[int, ...] | None] = [()]
        self._number: dict[str, int] = {"": 0}

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str, asked: tuple[int, ...] | None) -> int:
        """Number of a text; white space alone is the empty instruction.

        Parameters
        ----------
        text : str
            Any text, any language.
        asked : tuple of int or None
            What it asks for, if that is known.

        Returns
        -------
        int
            Its number in :attr:`texts`.
        """
        text = " ".join(text.split())
        number = self._number.get(text)
        if number is None:
            number = self._number[text] = len(self.texts)
            self.texts.append(text)
            self.asked.append(asked)
        return number


class Templates:
    """Templates of one or more languages.

    Parameters
    ----------
    languages : sequence of str
        Names of files in ``data/templates``.

    Raises
    ------
    InstructionError
        For a language that has no file.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = []
        for language in languages:
            file = TEMPLATES / f"{language}.yaml"
            if not file.is_file():
                known = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.yaml")))
                raise InstructionError(f"instruction_language: there are no templates for {language!r}, only {known}.")
            self._languages.append(yaml.safe_load(file.read_text(encoding="utf-8")))

    def texts(self, kind: str, part: str, values: Sequence[str]) -> list[str]:
        """Every template of a kind filled with the given values.

        Parameters
        ----------
        kind : {"intent", "history", "history_single", "history_title"}
            Which templates.
        part : {"train", "held_out"}
            Words of training, or words kept for evaluation.
        values : sequence of str
            For ``{a}`` and ``{b}``.

        Returns
        -------
        list of str
            One text a template.
        """
        filled: list[str] = []
        for language in self._languages:
            said = [language.get("values", {}).get(value, value) for value in values]
            names = dict(zip("ab", said, strict=False))
            filled.extend(template.format(**names) for template in language[kind][part])
        return filled


class Source(Protocol):
    """Gives each position of the history the number of its instruction."""

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Numbers for targets at ``positions``; drawn from ``rng`` in training, fixed (held-out words) without."""


class NoInstruction:
    """Source ``none``."""

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """As :meth:`Source.numbers`: always the empty instruction."""
        return np.zeros(len(positions), dtype=np.int64)


class _Fixed:
    """Numbers in [0, 1) that belong to a position, so that every model and seed is asked the same."""

    def __init__(self, n_positions: int, seed: int) -> None:
        self._values = np.random.default_rng(seed).random((2, n_positions), dtype=np.float32)

    def draw(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if rng is None:
            return self._values[:, positions]
        return rng.random((2, len(positions)), dtype=np.float32)


class IntentSource:
    """Source ``intent``: asks for one attribute of the target, drawn among those it has."""

    def __init__(
        self, bank: InstructionBank, attributes: Attributes, history: History, templates: Templates, seed: int
    ) -> None:
        self._matrix = attributes.matrix
        self._item = history.item
        self._fixed = _Fixed(len(history), seed)
        self._table = {
            part: np.array(
                [
                    [bank.add(text, (code,)) for text in templates.texts("intent", part, [name])]
                    for code, name in enumerate(attributes.names)
                ],
                dtype=np.int64,
            )
            for part in ("train", "held_out")
        }  # [n_attributes, n_templates]

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """As :meth:`Source.numbers`."""
        table = self._table["held_out" if rng is None else "train"]
        which, words = self._fixed.draw(positions, rng)
        items = self._item[positions]
        begin, end = self._matrix.indptr[items], self._matrix.indptr[items + 1]
        has = end > begin
        result = np.zeros(len(positions), dtype=np.int64)
        if has.any():
            pick = begin[has] + (which[has] * (end - begin)[has]).astype(np.int64)
            template = (words[has] * table.shape[1]).astype(np.int64)
            result[has] = table[self._matrix.indices[pick], template]
        return result


class HistorySource:
    """Source ``history``: the two attributes that the user's last items had most often.

    Without attributes it names the last item by its text.

    Parameters
    ----------
    bank : InstructionBank
        Receives the texts.
    attributes : Attributes
        Of the items; may be empty.
    titles : list of str
        Item texts, for data without attributes.
    history : History
        All interactions.
    templates : Templates
        Words.
    seed : int
        Fixes the words used in evaluation.
    last : int
        How many of the user's last interactions are looked at.
    """

    def __init__(
        self,
        bank: InstructionBank,
        attributes: Attributes,
        titles: list[str],
        history: History,
        templates: Templates,
        seed: int,
        last: int,
    ) -> None:
        self._fixed = _Fixed(len(history), seed + 1)
        if len(attributes):
            first, second = favourites(attributes.matrix, history, last)
            kinds, self._kind = np.unique(np.stack([first, second]), axis=1, return_inverse=True)
            self._kind = self._kind.reshape(-1)
            said = [
                ("history", [attributes.names[a], attributes.names[b]])
                if b >= 0
                else ("history_single", [attributes.names[a]])
                if a >= 0
                else None
                for a, b in kinds.T
            ]
        else:
            previous = np.where(history.user_start < np.arange(len(history)), np.r_[0, history.item[:-1]], 0)
            kinds, self._kind = np.unique(previous, return_inverse=True)
            said = [("history_title", [titles[item]]) if titles[item] else None for item in kinds]
        self._table = {}
        for part in ("train", "held_out"):
            texts = [[] if which is None else templates.texts(which[0], part, which[1]) for which in said]
            width = max(map(len, texts), default=0) or 1
            self._table[part] = np.array(
                [[bank.add(text, ()) for text in row] or [0] * width for row in texts], dtype=np.int64
            ).reshape(len(said), width)

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """As :meth:`Source.numbers`."""
        table = self._table["held_out" if rng is None else "train"]
        _, words = self._fixed.draw(positions, rng)
        return table[self._kind[positions], (words * table.shape[1]).astype(np.int64)]


def favourites(attributes: csr_matrix, history: History, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The two most frequent attributes among the items *before* each position.

    Parameters
    ----------
    attributes : csr_matrix
        ``[n_items, n_attributes]``.
    history : History
        All interactions.
    last : int
        Number of the user's latest interactions that count.

    Returns
    -------
    tuple of ndarray
        First and second attribute, ``[n_interactions]``, -1 where there is none.
        Of equally frequent ones the commoner in the catalogue comes first.
    """
    n = len(history)
    first, second = np.full(n, -1), np.full(n, -1)
    per_chunk = 20_000
    for begin in range(0, n, per_chunk):
        rows = np.arange(begin, min(begin + per_chunk, n))
        low = np.maximum(history.user_start[rows], rows - last)
        count = rows - low
        indptr = np.r_[0, np.cumsum(count)]
        seen = np.repeat(low - indptr[:-1], count) + np.arange(indptr[-1])
        window = csr_matrix(
            (np.ones(len(seen), dtype=np.float32), history.item[seen], indptr), shape=(len(rows), attributes.shape[0])
        )
        counts = (window @ attributes).tocsr()
        row = np.repeat(np.arange(len(rows)), np.diff(counts.indptr))
        order = np.lexsort((counts.indices, -counts.data, row))
        row, column = row[order], counts.indices[order]
        rank = np.arange(len(row)) - counts.indptr[row]
        first[begin + row[rank == 0]] = column[rank == 0]
        second[begin + row[rank == 1]] = column[rank == 1]
    return first, second


class FileSource:
    """Source ``file``: texts of ``<dataset>.inst``, named by the interactions' ``instruction_id``."""

    def __init__(self, bank: InstructionBank, texts: Mapping[str, str], ids: Sequence[str], column: np.ndarray) -> None:
        missing = [name for name in ids[1:] if not texts.get(str(name), "").strip()]
        if missing:
            rows = int(np.isin(column, [i for i, name in enumerate(ids) if name in set(missing)]).sum())
            getLogger().warning(
                f"{len(missing)} instruction ids have no text in the .inst file (such as {', '.join(missing[:3])}); "
                f"their {rows} interactions count as having no instruction."
            )
        number = [bank.add(texts.get(str(name), ""), None) if i else 0 for i, name in enumerate(ids)]
        self._numbers = np.array(number, dtype=np.int64)[column]

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """As :meth:`Source.numbers`: the text that the data has for that interaction."""
        return self._numbers[positions]


def read_instruction_file(file: Path, separator: str = "\t", encoding: str = "utf-8") -> dict[str, str]:
    """Read ``<dataset>.inst``: a header, then an id and a text a line.

    Parameters
    ----------
    file : Path
        Columns ``instruction_id:token`` and one more, the text, which is taken
        as it stands to the end of the line.
    separator : str
        Between the two columns (``field_separator``).
    encoding : str
        Of the file.

    Returns
    -------
    dict of str to str
        Text of each id.

    Raises
    ------
    InstructionError
        When the file is missing or a line has no separator; names the line.
    """
    if not file.is_file():
        raise InstructionError(
            f"instruction source 'file' needs {file}: a line 'instruction_id:token{separator!r}instruction:token_seq', "
            "then an id and a text a line."
        )
    texts: dict[str, str] = {}
    repeated = 0
    # By hand, because a text may hold quotation marks, separators and any line-like character but a line feed.
    lines = file.read_text(encoding="utf-8-sig" if encoding == "utf-8" else encoding).split("\n")
    if lines[0].split(separator)[0].split(":")[0] != "instruction_id":
        raise InstructionError(f"{file}: the first column of the header must be instruction_id:token.")
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        name, found, text = line.partition(separator)
        if not found:
            raise InstructionError(f"{file}, line {number}: an id and a text, separated by a tab, are expected.")
        repeated += name in texts
        texts.setdefault(name, text)
    if repeated:
        getLogger().warning(f"{repeated} lines of {file} repeat an instruction id; the first text of each id is used.")
    return texts


def mixture(shares: Mapping[str, float], available: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """The training sources and their shares; what a data set cannot give falls to ``none``.

    Parameters
    ----------
    shares : mapping of str to float
        ``instruction_mix``.
    available : iterable of str
        Sources of this data set.

    Returns
    -------
    tuple
        Names and cumulated shares.

    Raises
    ------
    InstructionError
        For an unknown source or a share that is negative.
    """
    usable = set(available)
    weights = dict.fromkeys(("none",), 0.0)
    for name, share in shares.items():
        if name not in SOURCES or name == "shuffled":
            raise InstructionError(
                f"instruction_mix: {name!r} is not a training source; use {', '.join(SOURCES[:-1])}."
            )
        if not isinstance(share, (int, float)) or share < 0:
            raise InstructionError(
                f"instruction_mix: the share of {name!r} must be a number of at least 0, not {share!r}."
            )
        weights[name if name in usable else "none"] = weights.get(name if name in usable else "none", 0.0) + share
    total = sum(weights.values())
    if total <= 0:
        raise InstructionError("instruction_mix: at least one share must be above 0.")
    return list(weights), np.cumsum(list(weights.values())) / total


def wanted_sources(config: Any) -> set[str]:
    """Sources that training, the test result or the table of rows needs; others are not made up and encoded."""
    shares = config["instruction_mix"] or {}
    wanted = {name for name, share in shares.items() if share} | {config["instruction_source"]}
    wanted |= set(listed(config["report_rows"]))
    return wanted | {"intent", "file"} if "shuffled" in wanted else wanted


def build_sources(dataset: Any, history: History) -> tuple[InstructionBank, dict[str, Source]]:
    """The sources that are wanted and that a data set can give.

    Parameters
    ----------
    dataset : InstructRecDataset
        With attributes, item texts and options.
    history : History
        All interactions.

    Returns
    -------
    tuple
        The bank of texts, and the sources by name.

    Raises
    ------
    InstructionError
        When an option asks for a source that this data set cannot give.
    """
    config = dataset.config
    templates = Templates(listed(config["instruction_language"]))
    seed = config["instruction_seed"]
    bank = InstructionBank()
    sources: dict[str, Source] = {"none": NoInstruction()}
    attributes, titles = dataset.attributes, dataset.item_texts
    wanted = wanted_sources(config)
    if len(attributes) and "intent" in wanted:
        sources["intent"] = IntentSource(bank, attributes, history, templates, seed)
    if (len(attributes) or any(titles)) and "history" in wanted:
        sources["history"] = HistorySource(
            bank, attributes, titles, history, templates, seed, config["instruction_history_length"]
        )
    if "instruction_id" in history.columns and "file" in wanted:
        texts = read_instruction_file(
            Path(dataset.dataset_path) / f"{dataset.dataset_name}.inst",
            config["field_separator"],
            config["encoding"] or "utf-8",
        )
        column = history.columns["instruction_id"].numpy()
        sources["file"] = FileSource(bank, texts, list(dataset.field2id_token["instruction_id"]), column)
    return bank, sources
