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
    trainer.saved_model_file = str(Path(args.state) / f"{name}.pth")
    state_file = Path(args.state) / f"{name}.state"
    if state_file.is_file():
        go_on(side, torch.load(state_file, weights_only=True))
        print(f"{name} goes on with epoch {trainer.start_epoch}", flush=True)

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
        record(name, {"epoch": spent["epoch"], **seconds, "valid": {k: float(v) for k, v in result.items()}})
        print(f"{name} epoch {spent['epoch']}: valid NDCG@10 {score:.4f}, {seconds['train_seconds']} s", flush=True)
        return score, result

    def after_epoch(epoch: int, score: float) -> None:
        """Called by RecBole when the counters of early stopping are up to date."""
        temporary = state_file.with_suffix(".new")
        torch.save(
            {
                "epoch": epoch,
                "cur_step": trainer.cur_step,
                "best_valid_score": float(trainer.best_valid_score),
                "best_valid_result": {k: float(v) for k, v in trainer.best_valid_result.items()},
                "model": trainer.model.state_dict(),
                "optimizer": trainer.optimizer.state_dict(),
                "random_state": torch.get_rng_state(),
                "loader_state": side["train"].generator.get_state(),
            },
            temporary,
        )
        temporary.replace(state_file)

    trainer._train_epoch, trainer._valid_epoch = train, validate
    trainer.fit(side["train"], side["valid"], verbose=False, callback_fn=after_epoch)
    trainer._valid_epoch = valid_epoch
    finish(name, side)


def go_on(side: dict[str, Any], state: dict[str, Any]) -> None:
    """Put model, optimizer, counters and random numbers where a stopped run left them."""
    trainer = side["trainer"]
    trainer.start_epoch = state["epoch"] + 1
    trainer.cur_step = state["cur_step"]
    trainer.best_valid_score, trainer.best_valid_result = state["best_valid_score"], state["best_valid_result"]
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random_state"])
    side["train"].generator.set_state(state["loader_state"])


def finish(name: str, side: dict[str, Any]) -> None:
    """Record the test metrics of the best epoch, as they are and with the history's items excluded."""
    trainer, test = side["trainer"], side["test"]
    result = {k: float(v) for k, v in trainer.evaluate(test).items()}
    scores_of = trainer.model.full_sort_predict

    def excluding(interaction: Any) -> torch.Tensor:
        scores = scores_of(interaction)
        return scores.scatter(1, interaction["item_id_list"], float("-inf"))

    trainer.model.full_sort_predict = excluding
    excluded = {k: float(v) for k, v in trainer.evaluate(test, load_best_model=False).items()}
    valid = {k: float(v) for k, v in trainer.evaluate(side["valid"], load_best_model=False).items()}
    best = {k: float(v) for k, v in trainer.best_valid_result.items()}
    record(name, {"done": True, "valid": best, "test": result, "test_excluding": excluded, "valid_excluding": valid})
    print(json.dumps({"test": result, "test with the history's items excluded": excluded}, indent=1))
    print(f"recorded in {RESULTS / name}.jsonl")


if __name__ == "__main__":
    main()
