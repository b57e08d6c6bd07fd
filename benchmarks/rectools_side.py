"""One epoch of RecTools' SASRec for each line on standard input; for the Python that has RecTools alone.

Started by ``benchmarks.rectools_time``; prints how many targets an epoch trains, then the seconds of each epoch.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings

import pandas as pd
import torch


def main() -> None:
    told = json.loads(sys.argv[1])
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(told["threads"])
    import pytorch_lightning as lightning
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    table = pd.read_csv(told["file"], sep="\t", dtype=str)
    table.columns = [name.split(":")[0] for name in table.columns]
    table["timestamp"] = table["timestamp"].astype(float)
    table = table.sort_values(["user_id", "timestamp"], kind="stable")
    table = table[table.groupby("user_id").cumcount(ascending=False) >= 2]  # RecBole's training part
    taken = table.groupby("user_id").size()
    table = pd.DataFrame(
        {
            Columns.User: table["user_id"],
            Columns.Item: table["item_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(table["timestamp"], unit="s"),
        }
    )

    class InTurn(lightning.Callback):
        """Waits for a line before each epoch, and says how long it took."""

        def on_train_epoch_start(self, *_: object) -> None:
            if not sys.stdin.readline():
                sys.exit()
            self.begin = time.perf_counter()

        def on_train_epoch_end(self, *_: object) -> None:
            print(f"seconds {time.perf_counter() - self.begin}", flush=True)

    def trainer() -> lightning.Trainer:
        return lightning.Trainer(
            max_epochs=told["epochs"],
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            callbacks=[InTurn()],
        )

    print(f"targets {int((taken - 1).clip(upper=told['length']).sum())}", flush=True)
    SASRecModel(
        n_blocks=told["layers"],
        n_heads=told["heads"],
        n_factors=told["width"],
        session_max_len=told["length"],
        dropout_rate=told["dropout"],
        loss="softmax",
        batch_size=told["batch_size"],
        epochs=told["epochs"],
        get_trainer_func=trainer,
    ).fit(Dataset.construct(table))


if __name__ == "__main__":
    main()
