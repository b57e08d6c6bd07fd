"""What is known of the items: their text and their attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from recbole.utils import FeatureType
from scipy.sparse import csr_matrix, hstack

from recbole_instructrec.data.atomic import columns_of

# What stands in a field where nothing is known: nobody asks for it.
_PLACEHOLDERS = {"unknown", "none", "n/a", "(no", "genres", "listed)"}

# A value such as "-" has nothing to ask for.
_LEGIBLE = re.compile(r"[^\W_]")

# Several values in one, as other formats write them.
_JOINED = re.compile(r"\w[,;|/](?:\w|$)")

_YEAR = re.compile(r"[12]\d{3}")


class ItemFieldError(ValueError):
    """An option names an item field that is not there."""


def _not_loaded(dataset: Any, field: str, option: str, loaded: list[str]) -> ItemFieldError:
    """Why a field of the items is not there: no file, no such column, or not asked for."""
    file = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not loaded and not file.is_file():
        return ItemFieldError(f"{option} names {field!r}, a column of the items, but there is no file {file}.")
    if field in ((dataset.config["load_col"] or {}).get("item") or ()):
        return ItemFieldError(
            f"{option} names {field!r}, but {file} has no such column; it has "
            f"{', '.join(columns_of(file, dataset.config))}. Correct {option} and load_col['item']."
        )
    return ItemFieldError(
        f"{option} names {field!r}, which is not loaded from the .item file (loaded: "
        f"{', '.join(loaded) or 'nothing'}). Add it to load_col['item'], or correct {option}."
    )


def _tokens(dataset: Any, field: str, option: str) -> list[list[str]]:
    """The words of a token or token_seq field for every item, ``[n_items]`` lists."""
    loaded = [] if dataset.item_feat is None else list(dataset.item_feat)
    if field not in loaded:
        raise _not_loaded(dataset, field, option, loaded)
    names = dataset.field2id_token.get(field)
    if names is None:
        raise ItemFieldError(f"{option} names {field!r}, which is of type float; only token and token_seq fields fit.")
    ids = np.asarray(dataset.item_feat[field])
    if dataset.field2type[field] == FeatureType.TOKEN:
        return [[str(names[i])] if i else [] for i in ids]
    return [[str(names[i]) for i in row if i] for row in ids]


def item_texts(dataset: Any, fields: Sequence[str], warn: bool = True) -> list[str]:
    """One text an item: the named fields in their order.

    Parameters
    ----------
    dataset : RecBole dataset
        With ``item_feat`` as Interaction.
    fields : sequence of str
        Token or token_seq fields of ``.item``.
    warn : bool
        Whether items without text are counted in the log.

    Returns
    -------
    list of str
        ``[n_items]``; empty for the padding item and for items without text,
        which are counted in the log.

    Raises
    ------
    ItemFieldError
        When a field is not loaded.
    """
    texts = [""] * dataset.item_num
    for field in fields:
        for item, words in enumerate(_tokens(dataset, field, "item_text_fields")):
            if words:
                texts[item] = f"{texts[item]}. {' '.join(words)}" if texts[item] else " ".join(words)
    empty = sum(not text for text in texts[1:])
    if fields and empty and warn:
        getLogger().warning(f"{empty} of {dataset.item_num - 1} items have no text; they are known by their id alone.")
    return texts


class Attributes:
    """Attributes of the items that an instruction can ask for.

    Parameters
    ----------
    dataset : RecBole dataset
        With ``item_feat`` as Interaction.
    fields : sequence of str
        Token or token_seq fields of ``.item`` (``intent_field``).
    max_values : int
        Only so many attributes of ``fields`` and as many of ``also``, the most frequent first, are kept.
    also : sequence of str
        Further fields (``intent_also``).

    Attributes
    ----------
    names : list of str
        ``[n_attributes]``, those of ``fields`` first.
    n_main : int
        Number of attributes of ``fields``.
    matrix : scipy.sparse.csr_matrix
        ``[n_items, n_attributes]``, 1 where the item has the attribute.
    years : ndarray
        Of the items, from the first field that holds years, int, ``[n_items]``; 0 where none is known.

    Notes
    -----
    A field that holds years counts by decades: 1994 is the attribute ``1990s``.
    """

    def __init__(self, dataset: Any, fields: Sequence[str], max_values: int, also: Sequence[str] = ()) -> None:
        self.years = np.zeros(dataset.item_num, dtype=np.int64)
        names, main = self._matrix_of(dataset, fields, max_values, "intent_field", ())
        more, rest = self._matrix_of(dataset, also, max_values, "intent_also", names)
        self.names, self.n_main = names + more, len(names)
        self.matrix = hstack([main, rest]).tocsr()
        bare = int((np.diff(main.tocsr().indptr)[1:] == 0).sum())
        if fields and bare:
            getLogger().warning(f"{bare} of {dataset.item_num - 1} items have none of the attributes of intent_field.")

    def _matrix_of(
        self, dataset: Any, fields: Sequence[str], max_values: int, option: str, taken: Sequence[str]
    ) -> tuple[list[str], csr_matrix]:
        pairs: list[tuple[int, str]] = []
        for field in fields:
            values = _tokens(dataset, field, option)
            distinct = {word for words in values for word in words}
            # A few cells of a column of years may hold something else; they count as empty then.
            years = 0 < len(distinct) < 10 * sum(bool(_YEAR.fullmatch(word)) for word in distinct) / 9
            if years and not self.years.any():
                self.years[:] = [int(words[0]) if words and _YEAR.fullmatch(words[0]) else 0 for words in values]
            for item, words in enumerate(values):
                said = [f"{word[:3]}0s" for word in words if _YEAR.fullmatch(word)] if years else words
                pairs.extend(
                    (item, word)
                    for word in dict.fromkeys(said)
                    if word not in taken and word.lower() not in _PLACEHOLDERS and _LEGIBLE.search(word)
                )
        counts: dict[str, int] = {}
        for _, word in pairs:
            counts[word] = counts.get(word, 0) + 1
        names = sorted(counts, key=lambda word: (-counts[word], word))[:max_values]
        if len(counts) > max_values:
            getLogger().info(
                f"{option} has {len(counts)} values; the {max_values} most frequent are used (intent_max_values)."
            )
        joined = [word for word in names if _JOINED.search(word)]
        if 3 * len(joined) > len(names):
            getLogger().warning(
                f"{option}: many values are like {joined[0]!r} and count as attributes of that name. In the .item file "
                "values are separated by spaces alone (seq_separator), and the column has the type token_seq."
            )
        code = {word: index for index, word in enumerate(names)}
        kept = [(item, code[word]) for item, word in pairs if word in code]
        rows, columns = np.array(kept, dtype=np.int64).reshape(-1, 2).T
        matrix = csr_matrix(
            (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(dataset.item_num, len(names))
        )
        matrix.data[:] = 1.0  # the same word in two fields counts once
        return names, matrix

    def __len__(self) -> int:
        return len(self.names)
