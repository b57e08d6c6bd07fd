"""RecBole's trainer, overridden narrowly for InstructRec."""

from __future__ import annotations

from recbole.trainer import Trainer


class InstructRecTrainer(Trainer):
    """Trainer."""

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        train_data._dataset.start_epoch(epoch_idx)
        return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
