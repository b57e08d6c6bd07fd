"""SASRec on ml-100k through RecBole's own loader and trainer, to its end; what measures 2 and 5 compare with.

A run takes hours on a CPU. Every epoch is recorded as it ends and the run goes on where it was stopped, so it may be
started again at any time. When it has ended, its test metrics are recorded: as RecBole evaluates, and once more with
the items of each history excluded from its list, which is what InstructRec's repeat score learns to do.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, build, record, recorded, start
from recbole_instructrec.leaderboard.resuming import Resumable


def name_of(dropout: float, seed: int) -> str:
    """Name of a run's file of results."""
    return f"sasrec-dropout{dropout:g}-seed{seed}"


def main() -> None:
    args = start(__doc__ or "", dropout=0.2, seed=2020, epochs=300, state="saved")
    name = name_of(args.dropout, args.seed)
    if any(line.get("done") for line in recorded(name)):
        print(f"{name} has ended; see benchmarks/results/{name}.jsonl")
        return
    dropout = {"hidden_dropout_prob": args.dropout, "attn_dropout_prob": args.dropout}
    side = build("SASRec", args.seed, epochs=args.epochs, **dropout)
    trainer = side["trainer"]
    folder = Path(args.state) / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = Resumable(trainer, side["train"], folder)
    if begun := kept.go_on():
        print(f"{name} goes on with epoch {begun}", flush=True)

    train_epoch, valid_epoch = trainer._train_epoch, trainer._valid_epoch
    spent: dict[str, Any] = {}

    def train(data: Any, epoch: int, **options: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = train_epoch(data, epoch, **options)
        spent.update(epoch=epoch, wall=time.perf_counter() - wall, cpu=time.process_time() - cpu, loss=loss)
        return loss

    def validate(*data: Any, **options: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        score, result = valid_epoch(*data, **options)
        seconds = {
            "train_seconds": round(spent["wall"], 2),
            "train_cpu_seconds": round(spent["cpu"], 2),
            "valid_seconds": round(time.perf_counter() - wall, 2),
            "valid_cpu_seconds": round(time.process_time() - cpu, 2),
        }
        record(name, {"epoch": spent["epoch"], **seconds, "valid": plain(result)})
        print(f"{name} epoch {spent['epoch']}: valid NDCG@10 {score:.4f}, {seconds['train_seconds']} s", flush=True)
        return score, result

    trainer._train_epoch, trainer._valid_epoch = train, validate
    trainer.fit(side["train"], side["valid"], verbose=False, callback_fn=lambda epoch, score: kept.keep(epoch))
    trainer._valid_epoch = valid_epoch
    finish(name, side)
    kept.forget()


def finish(name: str, side: dict[str, Any]) -> None:
    """Record the metrics of the best epoch: as they are, and without what the history holds.

    ``excluding`` leaves out the items of the row's own list (``MAX_ITEM_LIST_LENGTH``), ``excluding_all`` everything
    that the user took before.
    """
    trainer, test, valid = side["trainer"], side["test"], side["valid"]
    result = plain(trainer.evaluate(test))
    best = plain(trainer.best_valid_result)
    done = {"done": True, "valid": best, "test": result}
    scores_of, width = trainer.model.full_sort_predict, side["dataset"].item_num
    before: dict[int, set[int]] = {}

    def excluding_list(interaction: Any) -> torch.Tensor:
        return scores_of(interaction).scatter(1, interaction["item_id_list"], float("-inf"))

    def excluding_all(interaction: Any) -> torch.Tensor:
        scores = scores_of(interaction)
        for row, user in enumerate(interaction["user_id"].tolist()):
            scores[row, list(before[user])] = float("-inf")
        assert scores.shape[1] == width
        return scores

    try:
        for part, data in (("valid", valid), ("test", test)):
            earlier = [side["train"]._dataset, *([valid._dataset] if part == "test" else [])]
            before.clear()
            for rows in earlier:
                feat = rows.inter_feat
                first = feat["item_id_list"][:, 0]  # the first item of all is nobody's target
                for user, item, item_before in zip(
                    feat["user_id"].tolist(), feat["item_id"].tolist(), first.tolist(), strict=True
                ):
                    before.setdefault(user, set()).update((item, item_before))
            for suffix, scores in (("excluding", excluding_list), ("excluding_all", excluding_all)):
                trainer.model.full_sort_predict = scores
                done[f"{part}_{suffix}"] = plain(trainer.evaluate(data, load_best_model=False))
    finally:
        trainer.model.full_sort_predict = scores_of
    record(name, done)
    print(json.dumps({key: value["ndcg@10"] for key, value in done.items() if key != "done"}, indent=1))
    print(f"recorded in {RESULTS / name}.jsonl")


def plain(result: Any) -> dict[str, float]:
    """Metrics as plain numbers."""
    return {metric: float(value) for metric, value in result.items()}


if __name__ == "__main__":
    main()
