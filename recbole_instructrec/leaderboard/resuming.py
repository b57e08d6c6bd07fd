"""Lets the training of any RecBole model be stopped after an epoch and go on as if it had not been."""

from __future__ import annotations

import os
import random
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.trainer import Trainer

from recbole_instructrec import checkpoint

_BEST, _OWN_STATE, _STATE, _NEW = "best.pth", "best.pth.resume", "state.pt", "best.pth.new"


def forget(folder: Path) -> None:
    """Remove what was kept of a run whose result is stored."""
    for name in (_BEST, _OWN_STATE, _STATE, _NEW):
        (folder / name).unlink(missing_ok=True)


class Resumable:
    """What a trainer needs to go on after the last epoch that has ended.

    InstructRec's trainer keeps such a state itself; for the others it is kept here.

    Parameters
    ----------
    trainer : recbole.trainer.Trainer
        Not yet started.
    loader : DataLoader
        Of the training rows.
    folder : path
        Where ``best.pth`` (RecBole's checkpoint) and the state stand.

    Attributes
    ----------
    ended : bool
        Whether an earlier execution has trained to the end: RecBole's ``fit`` would put the last weights in the place
        of the best ones, or train another epoch.
    """

    def __init__(self, trainer: Any, loader: Any, folder: Path) -> None:
        self._trainer, self._loader = trainer, loader
        self._own = hasattr(trainer, "resume_checkpoint") and trainer.config["model"] == "InstructRec"
        self._best = folder / _BEST
        self._state = folder / (_OWN_STATE if self._own else _STATE)
        trainer.saved_model_file = str(self._best)
        if not self._own and type(trainer)._save_checkpoint is Trainer._save_checkpoint:
            trainer._save_checkpoint = self._save_best
        self.ended = False  # whether training came to its end before; what is left is to measure

    def _save_best(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """RecBole's, but so that the file is either the old one or the whole new one."""
        new = self._best.with_name(_NEW)
        Trainer._save_checkpoint(self._trainer, epoch, verbose, **{**kwargs, "saved_model_file": str(new)})
        with open(new, "r+b") as stream:
            os.fsync(stream.fileno())
        os.replace(new, self._best)

    def go_on(self, known: int) -> int:
        """Put the trainer where a stopped run left it, or at the beginning where what it left cannot be read.

        Parameters
        ----------
        known : int
            Epochs whose seconds and scores are known.

        Returns
        -------
        int
            Epochs that are done.
        """
        if not self._state.is_file():
            return 0
        try:
            state = self._read(known)
        except Exception as error:  # whatever a damaged file may bring about
            forget(self._state.parent)
            print(f"The run begins anew: what was kept of it cannot be used ({error}).", file=sys.stderr, flush=True)
            return 0
        trainer = self._trainer
        if self._own:
            trainer.config["resume"] = str(self._best)
            trainer.cur_step = state["cur_step"]
            self.ended = self._comes_to_its_end(state["epoch"])
            if self.ended:
                trainer.resume_checkpoint(str(self._best))
            return int(state["epoch"]) + 1
        trainer.start_epoch = state["epoch"] + 1
        trainer.cur_step, trainer.best_valid_score = state["cur_step"], state["best_valid_score"]
        trainer.best_valid_result = OrderedDict(state["best_valid_result"])
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        self._set_random(state["random"])
        self.ended = self._comes_to_its_end(state["epoch"])
        return trainer.start_epoch

    def _read(self, known: int) -> dict[str, Any]:
        """The state, with everything that is read from it."""
        if not zipfile.is_zipfile(self._best):
            raise ValueError(f"{self._best.name} is missing or damaged")
        if self._own:
            state = checkpoint.read(self._state)
        else:
            state = torch.load(self._state, map_location="cpu", weights_only=True)
            missing = {
                "cur_step",
                "best_valid_score",
                "best_valid_result",
                "model",
                "optimizer",
                "random",
            } - state.keys()
            if missing:
                raise ValueError(f"{self._state.name} has no {', '.join(sorted(missing))}")
        if state["epoch"] >= known:
            raise ValueError(f"of {state['epoch'] + 1} epochs the seconds of {known} are known")
        return state

    def _comes_to_its_end(self, epoch: int) -> bool:
        """Whether RecBole's ``fit`` begins no epoch after this one."""
        trainer = self._trainer
        return epoch + 1 >= trainer.epochs or trainer.cur_step > trainer.stopping_step

    def keep(self, epoch: int) -> None:
        """Keep the state after an epoch: to be called when it has been evaluated."""
        trainer = self._trainer
        if self._own:
            trainer._save_state(epoch)
            return
        checkpoint.save_atomically(
            {
                "epoch": epoch,
                "cur_step": trainer.cur_step,
                "best_valid_score": float(trainer.best_valid_score),
                "best_valid_result": {name: float(value) for name, value in trainer.best_valid_result.items()},
                "model": trainer.model.state_dict(),
                "optimizer": trainer.optimizer.state_dict(),
                "random": self._random(),
            },
            self._state,
        )

    def keep_end(self, epoch: int) -> None:
        """Keep the state after the last epoch, which InstructRec's trainer removes as training ends."""
        if self._own:
            self.keep(epoch)

    def _random(self) -> dict[str, Any]:
        name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "loader": self._loader.generator.get_state(),
            "numpy": [name, np.asarray(keys).tolist(), int(place), int(has_gauss), float(gauss)],
            "python": random.getstate(),
        }

    def _set_random(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
        self._loader.generator.set_state(state["loader"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        version, keys, gauss = state["python"]
        random.setstate((version, tuple(keys), gauss))
