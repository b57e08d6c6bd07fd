"""The requests that steering is measured with: one for each test row and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from recbole_instructrec.data.instructions.wish import Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.data.items import Attributes

PARAPHRASES = Path(__file__).parent / "paraphrases.yaml"


@dataclass
class Requests:
    """What the users of some test rows say.

    Attributes
    ----------
    rows : ndarray
        Test rows, ``[n]``.
    texts : list of str
        One a row.
    wishes : list of Wish
        What each text asks for, as whoever wrote it meant it.
    wordings : ndarray of int, optional
        Which wording each text was made from, ``[n]``: those of the same one are read well or badly together. Without
        it, every text is its own.
    """

    rows: np.ndarray
    texts: list[str]
    wishes: list[Wish]
    wordings: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: np.ndarray) -> Requests:
        """Those at some places."""
        places = np.arange(len(self))[keep]
        wordings = None if self.wordings is None else self.wordings[places]
        return Requests(self.rows[places], [self.texts[i] for i in places], [self.wishes[i] for i in places], wordings)


class RequestMaker:
    """Draws attributes and words for test rows; the same seed makes the same requests for every model.

    Parameters
    ----------
    attributes : Attributes
        Of the items.
    target : ndarray
        Target item of each test row, ``[n_rows]``.
    seed : int
        Of all draws.
    user : ndarray, optional
        Whose row each is, ``[n_rows]``; without it, every row is somebody else's.
    """

    def __init__(self, attributes: Attributes, target: np.ndarray, seed: int, user: np.ndarray | None = None) -> None:
        self.attributes, self.target, self._seed = attributes, target, seed
        self._user = np.arange(len(target)) if user is None else user
        self.has = attributes.matrix.toarray() > 0  # [n_items, n_attributes]
        self.main = np.arange(attributes.n_main)

    def of_target(self, kind: str, avoided: np.ndarray | None = None) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        """Values of a kind of request that the target answers.

        Parameters
        ----------
        kind : str
            ``intent``, ``both``, ``but_not``, ``both_but_not``, ``little`` or ``only``.
        avoided : ndarray, optional
            What each row's request avoids, -1 for rows that are left out, ``[n_rows]``.

        Returns
        -------
        tuple
            Rows for which there is such a request, and the values of each.
        """
        rng = np.random.default_rng([self._seed, 1])
        n_wanted = 2 if kind.startswith("both") else 1
        rows, values = [], []
        for row, item in enumerate(self.target):
            main = self.main[self.has[item, : len(self.main)]]
            rest = np.flatnonzero(self.has[item])
            draw = rng.permutation(len(main)), rng.permutation(len(rest))
            if not len(main) or (avoided is not None and avoided[row] < 0):
                continue
            # Of two wishes the second may be of another field, such as a decade.
            wanted = [int(main[draw[0][0]])]
            wanted += [int(value) for value in rest[draw[1]] if value != wanted[0]][: n_wanted - 1]
            if len(wanted) == n_wanted:
                rows.append(row)
                values.append((*wanted, *([] if avoided is None else [int(avoided[row])])))
        return np.array(rows, dtype=int), values

    def any_attribute(self) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        """For each row one attribute of ``intent_field``, every one equally often, whatever the target is."""
        rng = np.random.default_rng([self._seed, 2])
        rows = np.arange(len(self.target))
        return rows, [(int(value),) for value in rng.permutation(rows) % max(1, len(self.main))]

    def avoidable(self, lists: np.ndarray) -> np.ndarray:
        """The attribute that a list has most of and the target lacks, -1 where there is none.

        Parameters
        ----------
        lists : ndarray
            Items shown without instruction, ``[n_rows, k]``.

        Returns
        -------
        ndarray
            ``[n_rows]``.
        """
        count = self.has[lists][:, :, self.main].sum(1)
        count = np.where(self.has[self.target][:, self.main], 0, count)
        return np.where(count.max(1) > 0, count.argmax(1), -1)

    def of_another_user(self, requests: Requests) -> Requests:
        """The same rows, each with the request of a row of somebody else; rows for which there is none are left out."""
        user = self._user[requests.rows]
        order = np.argsort(user, kind="stable")
        most = int(np.unique(user, return_counts=True)[1].max(initial=0))
        moved = np.zeros_like(order)
        moved[order] = np.roll(order, -most)  # past all rows of the same user
        keep = user[moved] != user
        return replace(requests.take(moved[keep]), rows=requests.rows[keep])

    def say(
        self, kind: str, rows: np.ndarray, values: Sequence[tuple[int, ...]], templates: Templates, part: str
    ) -> Requests:
        """Requests of a kind in the words of a part of the templates, drawn for each row."""
        rng = np.random.default_rng([self._seed, 3])
        texts, wordings = [], []
        for value in values:
            options = templates.texts(kind, part, [self.attributes.names[v] for v in value])
            wordings.append(int(rng.integers(len(options))))
            texts.append(options[wordings[-1]])
        return Requests(rows, texts, [wish_of(kind, value) for value in values], np.array(wordings, dtype=int))

    def paraphrase(
        self, rows: np.ndarray, values: Sequence[tuple[int, ...]], which: str
    ) -> tuple[Requests, np.ndarray]:
        """Requests that do not use the attribute's own word, where there are such wordings.

        Parameters
        ----------
        rows : ndarray
            Test rows, ``[n]``.
        values : sequence of tuple of int
            The attribute that each asks for.
        which : str
            ``usual``, ``uncommon`` or ``fresh``: the part of ``paraphrases.yaml``.

        Returns
        -------
        tuple
            The requests, and the places in ``rows`` that they belong to.
        """
        wordings = yaml.safe_load(PARAPHRASES.read_text(encoding="utf-8"))[which]
        rng = np.random.default_rng([self._seed, 4])
        places, texts = [], []
        for place, value in enumerate(values):
            options = wordings.get(self.attributes.names[value[0]].lower())
            pick = rng.random()
            if options:
                places.append(place)
                texts.append(options[int(pick * len(options))])
        kept = np.array(places, dtype=int)
        wordings = np.unique(np.array(texts, dtype=str), return_inverse=True)[1]
        return Requests(rows[kept], texts, [Wish(values[place][:1]) for place in places], wordings), kept
