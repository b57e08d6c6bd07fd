"""Lists of recommendations with original ids: what RecBole's evaluation ranks, written to a file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

#: What files may be called, and how each kind is written.
SUFFIXES = (".tsv", ".csv", ".parquet")


class ExportError(ValueError):
    """Lists cannot be written; the message says why and what to do."""


def check_file(file: str | os.PathLike[str]) -> Path:
    """The path of a file that lists can be written to.

    Parameters
    ----------
    file : path
        Ends in ``.tsv``, ``.csv`` or ``.parquet``.

    Raises
    ------
    ExportError
        For another ending, and for Parquet where pandas has no library for it.
    """
    path = Path(file)
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path}: the name must end in {', '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise ExportError(
                f"{path}: Parquet needs a library: pip install -c constraints.txt -e '.[parquet]'; or write .tsv."
            ) from None
    return path


@torch.no_grad()
def top_lists(model: Any, loader: Any, k: int) -> pd.DataFrame:
    """The k best items of every evaluation row, as RecBole's evaluation ranks them.

    Parameters
    ----------
    model : recbole model
        Trained; one that scores whole catalogues (``full_sort_predict``).
    loader : recbole.data.dataloader.FullSortEvalDataLoader
        Evaluation rows.
    k : int
        Length of a list; shorter where the catalogue is.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``rank`` (from 1), ``item_id`` (original ids) and ``score``, under the names that the data
        set has for the first and the third. Where a user has several rows, their lists follow each other. Items that
        RecBole leaves out (those seen before, for general models) are missing.

    Raises
    ------
    ExportError
        For a model that does not score whole catalogues.
    """
    if k < 1:
        raise ExportError(f"a list has at least one item, not {k}.")
    dataset, parts = loader._dataset, []
    model.eval()
    for interaction, history, *_ in loader:
        interaction = interaction.to(model.device)
        try:
            scores = model.full_sort_predict(interaction)
        except NotImplementedError:
            raise ExportError(f"{type(model).__name__} does not score whole catalogues (full_sort_predict).") from None
        scores = scores.view(len(interaction), -1)[:, : dataset.item_num].float()
        scores[:, 0] = -torch.inf
        if history is not None:
            scores[history] = -torch.inf
        best = torch.topk(scores, min(k, scores.shape[1]), dim=1)
        user = interaction[dataset.uid_field].repeat_interleave(best.indices.shape[1])
        rank = torch.arange(1, best.indices.shape[1] + 1).repeat(len(interaction))
        kept = torch.isfinite(best.values).flatten().cpu()
        columns = (user.cpu(), rank, best.indices.flatten().cpu(), best.values.flatten().cpu())
        parts.append([column[kept].numpy() for column in columns])
    users, ranks, items, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pd.DataFrame(
        {
            dataset.uid_field: dataset.id2token(dataset.uid_field, users),
            "rank": ranks,
            dataset.iid_field: dataset.id2token(dataset.iid_field, items),
            "score": values.astype(np.float32),
        }
    )


def save_lists(lists: pd.DataFrame, file: str | os.PathLike[str]) -> Path:
    """Write lists whole or not at all.

    Parameters
    ----------
    lists : DataFrame
        From :func:`top_lists`.
    file : path
        As :func:`check_file` says.

    Returns
    -------
    Path

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    path = check_file(file)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            lists.to_parquet(temporary, index=False)
        else:
            lists.to_csv(temporary, sep="\t" if path.suffix == ".tsv" else ",", index=False)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ExportError(f"{path} could not be written ({error}). Give another place, or free some space.") from error
    return path
