"""RecBole data set with stock evaluation rows and cheap training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from scipy import sparse

from recbole_instructrec.data.atomic import columns_of
from recbole_instructrec.data.context import Context
from recbole_instructrec.data.history import History
from recbole_instructrec.data.instructions import InstructionError, Templates, build_sources, mixture
from recbole_instructrec.data.items import Attributes, item_texts
from recbole_instructrec.data.rows import RowPlan, Rows
from recbole_instructrec.data.transitions import transition_counts
from recbole_instructrec.options import check_options, listed

#: Batch fields of ours.
INSTRUCTION, CONTEXT, EARLIER = "instruction_number", "request_context", "earlier_items"

_RAW_TIME, _END, _PART = "__raw_time", "history_end", "__part"


class InstructRecDataset(SequentialDataset):
    """Rows are positions in one sorted history; lists are built when a batch is made.

    RecBole's :class:`SequentialDataset` copies up to ``MAX_ITEM_LIST_LENGTH``
    values of every field for every interaction. Here a row is its target's
    position, so memory is O(interactions). Evaluation batches equal the stock
    ones, row for row; training rows are windows or length-grouped prefixes
    (:class:`~recbole_instructrec.data.rows.RowPlan`).

    Parameters
    ----------
    config : recbole.config.Config
        Options as documented in ``properties/InstructRec.yaml``.

    Attributes
    ----------
    history : History
        All interactions, sorted by user and time.
    item_texts : list of str
        Text of each item, ``[n_items]``.
    attributes : Attributes
        What instructions can ask for.
    instructions : InstructionBank
        Distinct instruction texts.
    context : Context
        Codes of the request-time fields.
    sources : dict of str to Source
        Instruction sources that this data set can give.
    item_numbers : dict of str to ndarray
        Float columns of the items as they stand in the file, before RecBole normalises them, ``[n_items]`` each; not a
        number where a cell is empty.
    """

    inter_feat: Any  # a DataFrame while loading, then an Interaction
    _training = False
    _lists_are_given = False
    _exchanged: torch.Tensor | None = None
    _words = "held_out"  # of the instructions of evaluation rows; validation has words of its own

    def __init__(self, config: Any) -> None:
        check_options(config)
        super().__init__(config)

    # --- loading -----------------------------------------------------------------------------

    def _load_feat(self, filepath: str, source: Any) -> Any:
        """RecBole's reading of one atomic file, after a look at its header."""
        kinds = {feature.value for feature in FeatureType}
        for column in columns_of(filepath, self.config):
            name, _, kind = column.partition(":")
            if not name or kind not in kinds:
                raise ValueError(
                    f"{filepath}, line 1: the columns must be name:type (type token, token_seq, float or float_seq), "
                    f"separated by {self.config['field_separator']!r} (field_separator), but there is {column!r}."
                )
        try:
            return super()._load_feat(filepath, source)
        except ValueError as error:
            if "could not convert string to float" not in str(error):
                raise
            raise ValueError(
                f"{filepath}: {error}. A column of type float holds numbers; a date must become seconds since 1970."
            ) from error

    def _filter_inter_by_user_or_item(self) -> None:
        """As RecBole; interactions of users or items that a loaded .user or .item file does not have are counted."""
        before = len(self.inter_feat)
        super()._filter_inter_by_user_or_item()
        if gone := before - len(self.inter_feat):
            self.logger.warning(
                f"{gone} of {before} interactions are left out: the .item or .user file has no line for their item or "
                "user. Complete that file, or leave it out of load_col."
            )

    def _fill_nan(self) -> None:
        """Keep times and numbers of items as they stand: RecBole fills gaps with the mean, then normalises them."""
        self._raw_time = None
        feat = [] if self.item_feat is None else self.item_feat
        floats = [name for name in feat if self.field2type[name] == FeatureType.FLOAT]
        self.item_numbers = {name: feat[name].to_numpy(dtype=np.float64, copy=True) for name in floats}
        if self.time_field in self.inter_feat:
            raw = self.inter_feat[self.time_field].to_numpy(dtype=np.float64)
            self._raw_time = np.nan_to_num(raw, nan=-1).astype(np.int64)
            if timeless := int(np.isnan(raw).sum()):
                self.logger.warning(
                    f"{timeless} of {len(raw)} interactions have no {self.time_field}: they are sorted in at the mean "
                    "of the others, as RecBole does. Complete them, or take them out of the .inter file."
                )
        super()._fill_nan()

    def _change_feat_format(self) -> None:
        lists = f"{self.iid_field}{self.config['LIST_SUFFIX']}" in self.inter_feat
        super()._change_feat_format()  # augments, unless benchmark files are used
        if self.benchmark_filename_list is not None:
            if lists:
                self._history_of_given_rows()
            else:
                self.data_augmentation()
        self._describe()

    def _benchmark_presets(self) -> None:
        if f"{self.iid_field}{self.config['LIST_SUFFIX']}" in self.inter_feat:
            super()._benchmark_presets()

    def data_augmentation(self) -> None:
        """Sort the interactions and make one row for each that has a predecessor, as RecBole does."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        if self.time_field not in self.inter_feat:
            raise ValueError(
                f"the column {self.time_field!r} (TIME_FIELD) is not loaded, and a sequence has no order without it. "
                f"If {self.dataset_name}.inter has it, add it to load_col['inter']; else set TIME_FIELD to the column "
                "that holds the time, or add one: any number that grows along each user's interactions will do."
            )
        if self._raw_time is not None:
            self.inter_feat[_RAW_TIME] = torch.from_numpy(self._raw_time)
        if self.benchmark_filename_list is not None:  # each row stays in the part whose file holds its target
            parts = np.repeat(np.arange(len(self.file_size_list)), self.file_size_list)
            self.inter_feat[_PART] = torch.from_numpy(parts)
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        columns = dict(self.inter_feat.interaction)
        raw = columns.pop(_RAW_TIME, None)
        part = columns.pop(_PART, None)
        user = columns.pop(self.uid_field)
        start = History.starts(user.numpy())
        self.history = History(
            columns, user, start, columns[self.iid_field].numpy(), None if raw is None else raw.numpy()
        )
        target = np.flatnonzero(start < np.arange(len(start)))
        if not len(target):
            raise ValueError(
                f"no user of {self.dataset_name!r} has two interactions, so there is nothing to predict. "
                "Check load_col, val_interval and the *_inter_num_interval filters."
            )
        length = np.minimum(target - start[target], self.max_item_list_len)
        rows = {self.uid_field: user[target], **{name: values[target] for name, values in columns.items()}}
        rows[self.item_list_length_field] = torch.from_numpy(length)
        rows[_END] = torch.from_numpy(target)
        if part is not None:
            rows[_PART] = part[target]
        self.inter_feat = Interaction(rows)
        lonely = int((np.diff(np.r_[np.flatnonzero(start == np.arange(len(start))), len(start)]) == 1).sum())
        if lonely:
            self.logger.warning(f"{lonely} users have one interaction: they have no evaluation row.")

    def _history_of_given_rows(self) -> None:
        """Benchmark files that hold item lists: each row becomes a history of its own."""
        self._lists_are_given = True
        suffix = self.config["LIST_SUFFIX"]
        feat = self.inter_feat
        given = feat[self.item_list_length_field].long()
        length = given.clamp(max=self.max_item_list_len)
        place = torch.arange(feat[self.iid_field + suffix].shape[1])
        before = (place < given[:, None]) & (place >= (given - length)[:, None])  # the latest ones
        block = length + 1
        end = torch.cumsum(block, 0) - 1  # position of each row's target
        is_target = torch.zeros(int(block.sum()), dtype=torch.bool)
        is_target[end] = True
        columns = {}
        for field in list(feat):
            if field == self.uid_field or field.endswith(suffix) or field == self.item_list_length_field:
                continue
            values = feat[field]
            column = torch.zeros((len(is_target), *values.shape[1:]), dtype=values.dtype)
            column[is_target] = values
            if field + suffix in feat:
                column[~is_target] = feat[field + suffix][:, : before.shape[1]][before].to(values.dtype)
            columns[field] = column
        user = torch.repeat_interleave(feat[self.uid_field], block)
        start = torch.repeat_interleave(end - length, block).numpy()
        time = None
        if self._raw_time is not None:  # the lists' own times are not clock time once normalised
            time = np.full(len(is_target), -1, dtype=np.int64)
            time[is_target.numpy()] = self._raw_time
        self.history = History(columns, user, start, columns[self.iid_field].numpy(), time)
        rows = {name: feat[name] for name in feat if not name.endswith(suffix)}
        rows[self.item_list_length_field] = length
        rows[_END] = end
        self.inter_feat = Interaction(rows)
        for field in columns:
            setattr(self, f"{field}_list_field", field + suffix)

    def _describe(self) -> None:
        """Item texts, attributes, context and instructions."""
        config = self.config
        self.item_texts = item_texts(self, listed(config["item_text_fields"]))
        #: The first field alone, such as a title.
        self.item_names = item_texts(self, listed(config["item_text_fields"])[:1], warn=False)
        self.attributes = Attributes(
            self, listed(config["intent_field"]), config["intent_max_values"], listed(config["intent_also"])
        )
        self.context = Context(listed(config["context_fields"]), self.history, self)
        self.templates = Templates(listed(config["instruction_language"]))
        self.instructions, self.sources = build_sources(self, self.history)
        self._mixture = mixture(config["instruction_mix"], self.sources)
        self.use_instructions(config["instruction_source"])

    # --- splitting ---------------------------------------------------------------------------

    def build(self) -> list[InstructRecDataset]:
        """Split as RecBole does; the first part becomes training rows.

        Returns
        -------
        list of InstructRecDataset
            Training, validation and test part.
        """
        datasets = super().build()
        if self.benchmark_filename_list is not None and _PART in self.inter_feat:
            part = self.inter_feat[_PART]
            datasets = [
                self.copy(self.inter_feat[torch.nonzero(part == n).flatten()]) for n in range(len(self.file_size_list))
            ]
            for dataset in [self, *datasets]:
                del dataset.inter_feat.interaction[_PART]
        for dataset in datasets:
            dataset._exchanged = None
        if len(datasets) > 2:
            datasets[1]._words = "dev"
        datasets[0]._make_training_rows()
        return datasets

    def _make_training_rows(self) -> None:
        is_target = np.zeros(len(self.history), dtype=bool)
        is_target[self.inter_feat[_END].numpy()] = True
        if self.config["first_interaction_target"]:
            # The first interaction of whoever has a training row precedes that row.
            is_target[np.unique(self.history.user_start[is_target])] = True
        kind = self.config["training_rows"]
        if kind not in ("windows", "prefixes"):
            raise ValueError(f"training_rows must be windows or prefixes, not {kind!r}.")
        width = encoder_length(self.config)
        told = getattr(self.config, "external_config_dict", {})
        if width < self.max_item_list_len and "MAX_ITEM_LIST_LENGTH" in told and "encoder_length" not in told:
            self.logger.warning(
                f"Of the {self.max_item_list_len} items of a history that are known (MAX_ITEM_LIST_LENGTH), the "
                f"behaviour encoder reads the last {width}. Set encoder_length for more."
            )
        per_row = 1 if kind == "prefixes" else self.config["window_targets"] or width
        if not 1 <= per_row <= width:
            raise ValueError(
                f"window_targets must be between 1 and the number of items a window reads ({width}: encoder_length, or "
                f"MAX_ITEM_LIST_LENGTH where that is less), not {per_row}."
            )
        self._is_target = is_target
        self._is_known = is_target.copy()
        self._is_known[self.history.user_start[is_target]] = True
        if self._lists_are_given:
            self._is_known[:] = True  # each row has its own list, and counts with its own target alone
        self._plan = RowPlan(is_target, self.history.user_start, width, per_row, self.config["seed"])
        self._n_earlier = self.max_item_list_len - width
        self._training = True
        self.start_epoch(0)

    @property
    def n_training_targets(self) -> int:
        """Number of targets that one epoch trains."""
        return int(self._is_target.sum())

    def target_counts(self) -> np.ndarray:
        """How often each item is a training target, ``[n_items]``."""
        return np.bincount(self.history.item[self._is_target], minlength=self.item_num)

    def transition_counts(self, back: float) -> Iterator[sparse.csr_matrix]:
        """How often items were taken around each other in training, in blocks of rows.

        As :func:`~recbole_instructrec.data.transitions.transition_counts` has it.
        """
        history = self.history
        marks = self._is_target, self._is_known
        return transition_counts(history.item, history.user_start, *marks, self.item_num, back)

    def taken_by_users(self) -> sparse.csr_matrix:
        """Which items each user took in the training part, 1 or 0, ``[n_histories, n_items]``."""
        start = self.history.user_start
        known = self._is_known & np.isin(start, start[self._is_target])  # of lists that are given, those of training
        user, item = np.unique(start[known], return_inverse=True)[1], self.history.item[known]
        took = sparse.csr_matrix((np.ones(len(item)), (user, item)), (int(user.max(initial=-1)) + 1, self.item_num))
        took.sum_duplicates()
        took.data[:] = 1.0
        return took

    def told_targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the real texts and the items of the training targets that one led to, ``[n]`` each."""
        positions = np.flatnonzero(self._is_target)
        numbers = self.sources["file"].numbers(positions, None) if "file" in self.sources else np.zeros_like(positions)
        return numbers[numbers > 0], self.history.item[positions[numbers > 0]]

    def start_epoch(self, epoch: int, batch_size: int | None = None) -> None:
        """Cut and order the training rows of one epoch; the same number gives the same rows.

        Parameters
        ----------
        epoch : int
            Epoch number.
        batch_size : int, optional
            Rows that all processes together take at a time; ``train_batch_size`` by default.
        """
        self._epoch = epoch
        self._rows: Rows = self._plan.epoch(epoch, batch_size or self.config["train_batch_size"])

    # --- instructions ------------------------------------------------------------------------

    def use_instructions(self, source: str) -> None:
        """Choose the instruction source of this part's evaluation rows.

        Parameters
        ----------
        source : {"none", "history", "intent", "file", "shuffled"}
            Evaluation row, see docs/evaluation.md.

        Raises
        ------
        InstructionError
            When this data set cannot give that source.
        """
        if source not in self.available_rows():
            needs = {
                "intent": "intent_field (attributes of the items)",
                "history": "intent_field or item_text_fields",
                "file": "an instruction_id column in load_col['inter'] and a .inst file",
                "shuffled": "intent_field, or instructions from a file",
            }
            raise InstructionError(
                f"instruction_source {source!r} "
                + (
                    f"needs {needs[source]}."
                    if source in needs
                    else "is unknown; use none, history, intent, file or shuffled."
                )
            )
        self._source = source

    def available_rows(self) -> list[str]:
        """Evaluation rows that this data set can give, in the order of the tables."""
        rows = [name for name in ("none", "history", "file", "intent") if name in self.sources]
        several = len(np.unique(self.inter_feat[self.uid_field].numpy())) > 1  # of this part
        return rows + (["shuffled"] if {"file", "intent"} & set(rows) and several else [])

    def instruction_numbers(self, index: torch.Tensor) -> torch.Tensor:
        """Instructions of evaluation rows under the chosen source.

        Parameters
        ----------
        index : Tensor
            Row numbers of this part, ``[batch_size]``.

        Returns
        -------
        Tensor
            Numbers in ``instructions.texts``, ``[batch_size]``.
        """
        name = self._source
        if name == "shuffled":
            index = self._of_another_user()[index]
            name = "file" if "file" in self.sources else "intent"
        return torch.from_numpy(self.sources[name].numbers(self.inter_feat[_END][index].numpy(), None, self._words))

    def _of_another_user(self) -> torch.Tensor:
        """For each row a row of the next user on a random round trip through all users, ``[n_rows]``."""
        if self._exchanged is not None:
            return self._exchanged
        user = self.inter_feat[self.uid_field].numpy()
        rng = np.random.default_rng(self.config["instruction_seed"])
        trip = rng.permutation(np.unique(user))
        following = dict(zip(trip, np.roll(trip, -1), strict=True))
        first_row = {u: row for row, u in reversed(list(enumerate(user)))}
        self._exchanged = torch.tensor([first_row[following[u]] for u in user])
        return self._exchanged

    # --- rows --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows) if self._training else len(self.inter_feat)

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        if isinstance(index, int):
            one = self.__getitem__([index], join)
            return Interaction({name: values[0] for name, values in one.interaction.items()})
        index = _as_positions(index, len(self))
        return self._training_batch(index) if self._training else self._evaluation_batch(index, join)

    def _evaluation_batch(self, index: torch.Tensor, join: bool) -> Interaction:
        """RecBole's own row: target, list of every field, length; and the instruction and context."""
        row = {name: values.index_select(0, index) for name, values in self.inter_feat.interaction.items()}
        end = row.pop(_END)
        length = row[self.item_list_length_field]
        for field in self.history.columns:
            list_field = getattr(self, f"{field}_list_field", None)
            if list_field is not None:
                row[list_field] = self.history.gather(field, end - length, length, self.max_item_list_len)
        row[INSTRUCTION] = self.instruction_numbers(index)
        if self.context.fields:
            row[CONTEXT] = torch.from_numpy(self.context.codes[end.numpy()]).long()
        batch = Interaction(row)
        return self.join(batch) if join else batch

    def _training_batch(self, index: torch.Tensor) -> Interaction:
        """A batch of training rows, as wide as its longest.

        Fields: items read ``[batch_size, width]``; targets ``[batch_size, width + 1]``
        where column t follows the first t items and 0 means no loss; instruction
        and context of each target; and, where the encoder reads less than
        ``MAX_ITEM_LIST_LENGTH``, the items before those it reads.
        """
        rows = self._rows.take(index.numpy())
        start, length = torch.from_numpy(rows.start), torch.from_numpy(rows.length)
        width = int(length.max())
        position = rows.start[:, None] + np.arange(width + 1)  # [batch_size, width + 1]
        trained = (position >= rows.first_target[:, None]) & (position < rows.end[:, None])
        position = np.where(trained, position, 0)
        targets = np.where(trained, self.history.item[position], 0)
        numbers = np.zeros_like(targets)
        numbers[trained] = self._draw_instructions(position[trained], int(index[0]))
        batch = {
            self.uid_field: self.history.user[start],
            self.iid_field + self.config["LIST_SUFFIX"]: self.history.gather(self.iid_field, start, length, width),
            self.item_list_length_field: length,
            self.iid_field: torch.from_numpy(targets),
            INSTRUCTION: torch.from_numpy(numbers),
        }
        if self._n_earlier:
            before = (start - torch.from_numpy(self.history.user_start[rows.start])).clamp(max=self._n_earlier)
            batch[EARLIER] = self.history.gather(self.iid_field, start - before, before, int(before.max()))
        if self.context.fields:
            codes = self.context.codes[position] * trained[..., None]
            batch[CONTEXT] = torch.from_numpy(codes).long()
        return Interaction(batch)

    def _draw_instructions(self, positions: np.ndarray, batch: int) -> np.ndarray:
        names, cumulated = self._mixture
        if len(names) == 1 and names[0] == "none":
            return np.zeros(len(positions), dtype=np.int64)
        rng = np.random.default_rng([self.config["seed"], self._epoch, batch])
        which = np.searchsorted(cumulated, rng.random(len(positions)), side="right").clip(max=len(names) - 1)
        numbers = np.zeros(len(positions), dtype=np.int64)
        for code, name in enumerate(names):
            chosen = which == code
            if name != "none" and chosen.any():
                numbers[chosen] = self.sources[name].numbers(positions[chosen], rng)
        return numbers

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """Sparse user-item matrix of this part; the first item of each history counts too, as in RecBole."""
        feat = {name: values for name, values in self.inter_feat.interaction.items() if name != _END}
        first = self.inter_feat[self.item_list_length_field] == 1
        before = self.inter_feat[_END][first] - 1
        joined = {
            name: torch.cat(
                [values, self.history.columns[name][before] if name in self.history.columns else values[first]]
            )
            for name, values in feat.items()
        }
        return self._create_sparse_matrix(Interaction(joined), self.uid_field, self.iid_field, form, value_field)


def encoder_length(config: Any) -> int:
    """How many items of the history the behaviour encoder reads: at most all that are known."""
    longest: int = config["MAX_ITEM_LIST_LENGTH"]
    return min(config["encoder_length"] or longest, longest)


def _as_positions(index: Any, length: int) -> torch.Tensor:
    """Any index that RecBole uses (list, array, tensor, slice, mask) as row numbers."""
    if isinstance(index, slice):
        return torch.arange(*index.indices(length))
    index = torch.as_tensor(np.asarray(index))
    if index.dtype == torch.bool:
        return torch.nonzero(index).flatten()
    return torch.where(index < 0, index + length, index).long()
