"""RecBole's trainer, overridden narrowly for InstructRec.

RecBole's own loop, progress bars, early stopping, TensorBoard and W&B logging
stay. What is added: learning-rate schedule, gradient accumulation, bf16, a
moving average of the weights, checkpoints that hold no code and resume exactly,
and the table of evaluation rows after the test result.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.trainer import Trainer
from recbole.utils import init_seed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from recbole_instructrec import checkpoint
from recbole_instructrec.checkpoint import CheckpointError
from recbole_instructrec.compat import agree_on_checkpoint
from recbole_instructrec.export import check_file, save_lists, top_lists
from recbole_instructrec.model.projection import projection_names
from recbole_instructrec.options import drop_long_lists, listed
from recbole_instructrec.report import TOLD, RowResults, log_after_test_result


class _Optimizer:
    """RecBole's loop calls ``zero_grad`` and ``step`` once a batch; this makes a step of several batches.

    Parameters
    ----------
    inner : torch.optim.Optimizer
        Does the work.
    schedule : LRScheduler
        Advanced once a step.
    before_step, after_step : callable
        Called before and after each step.
    every : int
        Batches a step.
    """

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        schedule: Any,
        before_step: Callable[[], None],
        after_step: Callable[[], None],
        every: int,
    ) -> None:
        self.inner, self.schedule, self.every = inner, schedule, every
        self.before_step, self.after_step = before_step, after_step
        self.batches = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of the inner optimizer; RecBole's gradient scaler looks at them."""
        return self.inner.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients where a new step begins."""
        if self.batches % self.every == 0:
            self.inner.zero_grad(set_to_none)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Count a batch; step at the last one of a step."""
        self.batches += 1
        if self.batches % self.every == 0:
            self.apply()

    def finish(self) -> None:
        """Step with what has been gathered when an epoch ends in mid-step."""
        if left := self.batches % self.every:
            for group in self.param_groups:  # each batch's loss was divided by `every`
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(self.every / left)
            self.apply()
        self.batches = 0

    def apply(self) -> None:
        """One step of optimizer and schedule."""
        self.before_step()
        self.inner.step()
        self.schedule.step()
        self.after_step()

    def state_dict(self) -> dict[str, Any]:
        """Optimizer and schedule; plain values and tensors."""
        return {"optimizer": self.inner.state_dict(), "schedule": self.schedule.last_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Counterpart of :meth:`state_dict`."""
        self.inner.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = state["schedule"]


class InstructRecTrainer(Trainer):
    """Trains and evaluates InstructRec.

    Parameters
    ----------
    config : recbole.config.Config
        Options as documented in ``properties/InstructRec.yaml``.
    model : InstructRec
        The model.

    Raises
    ------
    ValueError
        For an option that is out of range.
    CheckpointError
        When ``resume`` names a file that cannot be resumed from.
    """

    def __init__(self, config: Any, model: torch.nn.Module) -> None:
        if config["precision"] not in ("fp32", "bf16"):
            raise ValueError(f"precision must be fp32 or bf16, not {config['precision']!r}.")
        if config["enable_scaler"] and (config["accumulate_batches"] or 1) > 1:
            raise ValueError(
                "enable_scaler and accumulate_batches cannot be combined; precision: bf16 needs no scaler."
            )
        if config["lr_decay"] not in ("none", "linear", "cosine"):
            raise ValueError(f"lr_decay must be none, linear or cosine, not {config['lr_decay']!r}.")
        if config["save_topk"]:
            check_file(config["save_topk"])  # before anything is trained
        n_items: Any = model.n_items
        drop_long_lists(config, n_items - 1)  # 0 is no item
        self._steps_per_epoch = 1
        self._clip: dict[str, Any] | None = None
        super().__init__(config, model)
        decay = config["ema_decay"]
        self._average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False) if decay else None
        )
        self._validating = False
        self._keeps_state = False

    def _build_optimizer(self, **kwargs: Any) -> _Optimizer:
        """RecBole's optimizer; no weight decay on biases, norms and scalars; a schedule on top."""
        decay = kwargs.pop("weight_decay", self.weight_decay)
        groups = []
        for parameters, rate in self._parts():
            for many, own_decay in ((True, decay), (False, 0.0)):
                part = [p for p in parameters if p.requires_grad and (p.dim() > 1) == many]
                if part:
                    groups.append({"params": part, "weight_decay": own_decay, "lr": rate})
        inner = super()._build_optimizer(params=groups, **kwargs)
        if isinstance(inner, (torch.optim.Adam, torch.optim.AdamW)) and self.device.type in ("cpu", "cuda"):
            for group in inner.param_groups:
                group["fused"] = True  # one pass over the parameters; RecBole's builder does not pass it on
        schedule = torch.optim.lr_scheduler.LambdaLR(inner, self._learning_rate_factor)
        # RecBole's loop would clip every batch, also within a step of several: clip in the step instead.
        self._clip, self.clip_grad_norm = self.config["clip_grad_norm"], None
        return _Optimizer(
            inner, schedule, self._before_step, self._after_step, max(1, self.config["accumulate_batches"])
        )

    @property
    def _transformer(self) -> Any:
        return getattr(self.model, "transformer", None)

    def _parts(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        """Parameters and their learning rate: a pretrained transformer has one of its own."""
        rate, transformer = self.learning_rate, self._transformer
        tuned = [] if transformer is None else list(transformer.parameters())
        known = {id(parameter) for parameter in tuned}
        others = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        return [(others, rate), (tuned, self.config["encoder_learning_rate"] or rate)]

    def _learning_rate_factor(self, step: int) -> float:
        """Share of the learning rate at a step: linear warm-up, then decay over all epochs."""
        warmup = self.config["warmup_steps"] or 0
        if step < warmup:
            return (step + 1) / warmup
        total = max(1, self.epochs * self._steps_per_epoch - warmup)
        done = min(1.0, (step - warmup) / total)
        kind = self.config["lr_decay"]
        return 1.0 if kind == "none" else 1.0 - done if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    def _before_step(self) -> None:
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), **self._clip)

    def _after_step(self) -> None:
        if self._transformer is not None:
            self._transformer.after_step()
        if self._average is not None:
            self._average.update_parameters(self.model)

    # --- training ----------------------------------------------------------------------------

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        """RecBole's ``fit``; goes on from ``resume`` when that is set.

        Returns
        -------
        tuple
            Best validation score and result, as RecBole.
        """
        self._steps_per_epoch = -(-len(train_data) // max(1, self.config["accumulate_batches"]))
        if self._transformer is not None:
            self._transformer.start_training(self.epochs * self._steps_per_epoch)
        if self.config["resume"]:
            self.resume_checkpoint(self.config["resume"])
            if self.start_epoch >= self.epochs:
                self.logger.info(f"{self.saved_model_file} has been trained for {self.epochs} epochs already.")
                self.eval_collector.data_collect(train_data)  # some metrics need it in the evaluation that follows
                return self.best_valid_score, self.best_valid_result
        saved = kwargs.get("saved", args[1] if len(args) > 1 else True)
        self._keeps_state = bool(saved)
        if self._keeps_state and self._is_main:
            for leftover in Path(self.checkpoint_dir).glob(f".{Path(self.saved_model_file).name}*.tmp"):
                leftover.unlink()  # of a run that was killed while it wrote
        result = super().fit(train_data, valid_data, *args, **kwargs)
        if self._keeps_state and self._is_main and os.path.exists(self._state_file):
            os.unlink(self._state_file)  # training has ended; the best checkpoint is what remains
        return result

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> Any:
        if epoch_idx > self.start_epoch and self._keeps_state:
            self._save_state(epoch_idx - 1)  # what the former epoch, its evaluation included, has left behind
        self._seed_epoch(train_data, epoch_idx)
        world = 1 if self.config["single_spec"] else self.config["world_size"]
        train_data._dataset.start_epoch(epoch_idx, train_data.step * world)
        total = super()._train_epoch(train_data, epoch_idx, loss_func or self._loss, show_progress)
        self.optimizer.finish()
        return total * self.optimizer.every / max(1, len(train_data))  # mean loss of a batch

    def _seed_epoch(self, train_data: Any, epoch: int) -> None:
        """Random numbers of an epoch depend on seed, process and epoch alone, so that a resumed one has the same."""
        rank = 0 if self.config["single_spec"] else self.config["local_rank"]
        seed = int(np.random.SeedSequence([self.config["seed"], rank, epoch]).generate_state(1)[0])
        init_seed(seed, self.config["reproducibility"])
        train_data.generator.manual_seed(seed)

    def _loss(self, interaction: Any) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config["precision"] == "bf16"):
            loss = self.model.calculate_loss(interaction)
        return loss / self.optimizer.every if self.optimizer.every > 1 else loss

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        self._validating = True
        try:
            return super()._valid_epoch(*args, **kwargs)
        finally:
            self._validating = False

    # --- evaluation --------------------------------------------------------------------------

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """RecBole's ``evaluate``; the one after training also measures the other evaluation rows.

        Returns
        -------
        RowResults or OrderedDict
            Metrics of row ``instruction_source``; the other rows are in ``.rows``.
        """
        if not eval_data:
            return None
        if load_best_model:
            agree_on_checkpoint(self)
            file = model_file or self.saved_model_file
            check_matches(checkpoint.read(file), self.model, file)  # says in words what is wrong with a file
        # A checkpoint holds the moving average already.
        with self._averaged_weights(wanted=not load_best_model):
            result = super().evaluate(eval_data, load_best_model, model_file, show_progress)
            if not self._validating and self._is_main and self.config["save_topk"]:
                lists = save_lists(top_lists(self.model, eval_data, max(self.config["topk"])), self.config["save_topk"])
                self.logger.info(f"Saved the lists of the {max(self.config['topk'])} best items: {lists}")
            rows = [] if self._validating else self._rows_to_report(eval_data)
            if not rows:
                return result
            dataset = eval_data._dataset
            chosen = self.config["instruction_source"]
            results = {}
            # W&B's summary keeps the last evaluation: that stays the test result.
            logs, self.wandblogger.log_wandb = self.wandblogger.log_wandb, False
            try:
                for row in rows:
                    first = " Texts that are new are read first." if row in ("history", "file", "intent") else ""
                    self.logger.info(f"Evaluation row {row}: the model is told {TOLD[row]}.{first}")
                    dataset.use_instructions(row)
                    results[row] = result if row == chosen else super().evaluate(eval_data, False, None, show_progress)
            finally:
                dataset.use_instructions(chosen)
                self.wandblogger.log_wandb = logs
        result = RowResults(result, results, with_context=bool(dataset.context.fields))
        log_after_test_result(self.logger, result, self._what_next(dataset, model_file) if load_best_model else "")
        return result

    def _what_next(self, dataset: Any, model_file: str | None) -> str:
        """Where the trained model is, and what to do with it."""
        file = model_file or self.saved_model_file
        measure = (
            f"; does it follow requests? instructrec steer --checkpoint {file}" if dataset.attributes.n_main else ""
        )
        return f"\n\nThe trained model: {file}{measure}"

    def _rows_to_report(self, eval_data: Any) -> list[str]:
        dataset = eval_data._dataset
        if not hasattr(dataset, "available_rows"):
            return []
        return [row for row in listed(self.config["report_rows"]) if row in dataset.available_rows()]

    @contextmanager
    def _averaged_weights(self, wanted: bool) -> Iterator[None]:
        """The moving average in the model's place, if there is one."""
        if not wanted or self._average is None or not int(self._average.n_averaged):
            yield
            return
        own = {
            name: value.detach().clone() if isinstance(value, torch.Tensor) else value
            for name, value in self.model.state_dict().items()
        }
        self.model.load_state_dict(self._average.module.state_dict())
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    # --- checkpoints -------------------------------------------------------------------------

    @property
    def _is_main(self) -> bool:
        return self.config["single_spec"] or self.config["local_rank"] == 0

    @property
    def _state_file(self) -> Path:
        """What an interrupted training needs to go on, beside the best checkpoint."""
        return Path(f"{self.saved_model_file}.resume")

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """RecBole's checkpoint with tensors and plain values only, written atomically."""
        if not self._is_main:
            return
        file = kwargs.pop("saved_model_file", self.saved_model_file)
        weights = self.model if self._average is None else self._average.module
        checkpoint.save_atomically(self._state(epoch, weights), file)
        if verbose:
            self.logger.info(f"Saving current: {file}")

    def _state(self, epoch: int, weights: torch.nn.Module) -> dict[str, Any]:
        return {
            "format": checkpoint.FORMAT,
            "config": checkpoint.plain_config(self.config),
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": checkpoint.plain(self.best_valid_result),
            "state_dict": dict(weights.state_dict()),
            "catalogue": self.model.catalogue.plain(),
            "other_parameter": {},
            "optimizer": self.optimizer.state_dict(),
        }

    def _save_state(self, epoch: int) -> None:
        if not self._is_main:
            return
        state = self._state(epoch, self.model)
        if self._average is not None:
            state["average"] = dict(self._average.state_dict())
        checkpoint.save_atomically(state, self._state_file)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Go on with an interrupted training as if it had not been interrupted.

        Parameters
        ----------
        resume_file : path
            A checkpoint; with its ``.resume`` file beside it the training goes
            on exactly, without it from the best epoch.

        Raises
        ------
        CheckpointError
            When the file is damaged, carries code, or is of another model or catalogue.
        """
        self.saved_model_file = str(resume_file).removesuffix(".resume")
        file = checkpoint.state_file(resume_file)
        state = checkpoint.read(file)  # on the CPU; what follows copies it to where it belongs
        check_matches(state, self.model, file)
        self._warn_of_other_options(state["config"], file)
        self.start_epoch = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        result = state["best_valid_result"]
        self.best_valid_result = None if result is None else OrderedDict(result)
        self.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            if "average" in state:
                self._average.load_state_dict(state["average"])
            else:  # the best epoch's checkpoint holds the average itself
                self._average.module.load_state_dict(state["state_dict"])
                self._average.n_averaged.fill_(1)
        self.logger.info(f"Resuming from {file}: training goes on with epoch {self.start_epoch}.")

    def _warn_of_other_options(self, stored: dict[str, Any], file: Path | str) -> None:
        own = checkpoint.plain_config(self.config)
        other = [
            f"{name}: {stored.get(name)!r} then, {own.get(name)!r} now"
            for name in sorted(own.keys() | stored.keys())
            if own.get(name) != stored.get(name)
        ]
        if other:
            self.logger.warning(f"{file} was written with other options; what follows may differ: {'; '.join(other)}")


def check_matches(state: dict[str, Any], model: torch.nn.Module, file: Any) -> None:
    """Refuse a checkpoint of another catalogue or another shape.

    Parameters
    ----------
    state : dict
        As read from a checkpoint.
    model : InstructRec
        Built for the data set at hand.
    file : path
        For the message.

    Raises
    ------
    CheckpointError
        With what differs.
    """

    def shapes(weights: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in weights.items() if isinstance(value, torch.Tensor)}

    own, stored = shapes(model.state_dict()), shapes(state["state_dict"])
    try:
        model.set_extra_state(state["state_dict"]["_extra_state"])
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    for name in projection_names(model) - stored.keys():  # checkpoints of former versions have none
        own.pop(name)
    wrong = [name for name in sorted(own.keys() | stored.keys()) if own.get(name) != stored.get(name)]
    if wrong:
        shown = "; ".join(f"{name}: stored {stored.get(name)}, expected {own.get(name)}" for name in wrong[:3])
        raise CheckpointError(
            f"{file} was trained with other model options ({len(wrong)} parts differ: {shown}). "
            'Use the options it was trained with; its "config" entry holds them.'
        )
