"""What is known when a request is made: clock, pause since the last action, user profile.

The clock is read from the timestamps as they stand in the file: RecBole turns
them into normalised float32, which loses hours and days.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_instructrec.data.history import History

CLOCK_FIELDS = {"hour": 25, "weekday": 8, "gap": 34}

# Timestamps below this (1973 as Unix time) are positions or years, not clock time.
_EARLIEST_CLOCK = 100_000_000
# And above this (the year 5138) they are milliseconds or finer.
_LATEST_CLOCK = 100_000_000_000


class ContextError(ValueError):
    """A context field cannot be had from this data set."""


def clock_codes(name: str, history: History) -> np.ndarray:
    """Code of one clock field at every interaction; 0 where it is not known.

    Parameters
    ----------
    name : {"hour", "weekday", "gap"}
        ``hour`` of the day and ``weekday`` in UTC, ``gap`` the power of two of
        the seconds since the user's last action.
    history : History
        With raw timestamps in seconds.

    Returns
    -------
    ndarray
        int64, ``[n_interactions]``, values below ``CLOCK_FIELDS[name]``.

    Raises
    ------
    ContextError
        When the data has no timestamps, or they are not clock time.
    """
    time = history.time
    if time is None:
        raise ContextError(f"context field {name!r} needs TIME_FIELD in load_col['inter'].")
    if name in ("hour", "weekday") and time.max(initial=0) < _EARLIEST_CLOCK:
        raise ContextError(
            f"context field {name!r} needs clock time, but the timestamps of this data set end at {time.max()}: "
            "they are positions, not seconds since 1970. Remove it from context_fields."
        )
    if time.max(initial=0) > _LATEST_CLOCK:
        raise ContextError(
            f"context field {name!r} needs seconds since 1970, but the timestamps of this data set reach {time.max()}: "
            "they are milliseconds or finer. Divide them in the .inter file."
        )
    if name == "hour":
        return np.where(time < 0, 0, time // 3600 % 24 + 1)
    if name == "weekday":
        return np.where(time < 0, 0, (time // 86400 + 3) % 7 + 1)  # 1 is Monday; 1 January 1970 was a Thursday
    known = (history.user_start < np.arange(len(time))) & (time >= 0) & (np.r_[time[:1], time[:-1]] >= 0)
    pause = np.where(known, time - np.r_[time[:1], time[:-1]], 0)
    return np.where(known, 1 + np.floor(np.log2(np.maximum(pause, 0) + 1)).astype(np.int64).clip(0, 32), 0)


class Context:
    """Codes of the request-time fields at every interaction.

    Parameters
    ----------
    fields : list of str
        Names from ``hour``, ``weekday``, ``gap`` and token fields of ``.user``.
    history : History
        All interactions.
    dataset : RecBole dataset
        For ``user_feat``.

    Raises
    ------
    ContextError
        When a field is neither of the clock nor a loaded token field of ``.user``.
    """

    def __init__(self, fields: list[str], history: History, dataset: Any) -> None:
        self.fields = list(fields)
        self.sizes: list[int] = []
        columns = []
        for name in self.fields:
            if name in CLOCK_FIELDS:
                columns.append(clock_codes(name, history))
                self.sizes.append(CLOCK_FIELDS[name])
            elif dataset.user_feat is not None and name in dataset.user_feat and name in dataset.field2id_token:
                codes = np.asarray(dataset.user_feat[name])
                if codes.ndim != 1:
                    raise ContextError(f"context field {name!r} is a sequence; only single tokens can be used.")
                columns.append(codes[history.user.numpy()])
                self.sizes.append(dataset.num(name))
            else:
                raise ContextError(
                    f"context field {name!r} is neither one of {', '.join(CLOCK_FIELDS)} nor a token column of the "
                    ".user file that is loaded. Add it to load_col['user'], or remove it from context_fields."
                )
        self._profiles = (
            {}
            if dataset.user_feat is None
            else {name: np.asarray(dataset.user_feat[name]) for name in self.fields if name not in CLOCK_FIELDS}
        )
        self.codes = (
            np.stack(columns, axis=1).astype(np.int32) if columns else np.zeros((len(history), 0), dtype=np.int32)
        )

    def now(self, time: float, last: float | None, user: int) -> np.ndarray:
        """Codes of the fields for a request that is made now.

        Parameters
        ----------
        time : float
            Seconds since 1970.
        last : float or None
            When the user last did something; a position in a sequence instead of clock time is not known either.
        user : int
            RecBole's internal id, 0 for somebody whom the data set does not know.

        Returns
        -------
        ndarray
            int64, ``[n_fields]``; 0 where a field is not known.
        """
        known = last is not None and last >= _EARLIEST_CLOCK
        times = np.array([last, time] if known else [time], dtype=np.int64)
        moment = History({}, torch.zeros(len(times)), np.zeros(len(times), dtype=np.int64), times, times)
        return np.array(
            [
                clock_codes(name, moment)[-1] if name in CLOCK_FIELDS else self._profiles[name][user]
                for name in self.fields
            ],
            dtype=np.int64,
        )
