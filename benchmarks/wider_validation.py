"""Options compared on more than one item a user, where a data set has few: the last five before the test item.

Validation under the protocol asks for one item a user, which does not tell options apart where there are a thousand
users. Here models are trained on what comes before up to ``--last`` items of each user, with the first of these for
early stopping, and then rank each of them after all that came before it. The items of the test part are never read.

    python -m benchmarks.wider_validation --dataset=lastfm-tags --label="weight 3" --options='{"neighbour_weight": 3.0}'
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import build, pending, record, recorded, settings_of, start, table
from recbole_instructrec.checkpoint import read
from recbole_instructrec.steering.measures import ndcg

#: A history as tokens, the item after it, and whether that is the last before the test item.
Question = tuple[list[str], str, bool]


def cut(settings: dict[str, Any], folder: Path, last: int) -> list[Question]:
    """Write a data set that ends two items into the questions, and return these.

    Parameters
    ----------
    settings : dict
        Names the data set, and which of its interactions count.
    folder : Path
        Of the data set that is written; it gets the same name.
    last : int
        Questions a user; fewer where less than three items would be left.

    Returns
    -------
    list of tuple
    """
    from recbole.config import Config
    from recbole.data import create_dataset

    name = settings["dataset"]
    wanted = {key: value for key, value in settings.items() if key.endswith("_num_interval") or key == "data_path"}
    load = {"load_col": {"inter": settings["load_col"]["inter"]}}
    whole = create_dataset(Config(model="Pop", dataset=name, config_dict={**wanted, **load}))
    user, item, time = whole.uid_field, whole.iid_field, whole.time_field
    inter = whole.inter_feat.sort_values([user, time], kind="stable")
    (folder / name).mkdir(parents=True)
    for file in (Path(whole.config["data_path"])).glob(f"{name}.*"):
        if file.suffix != ".inter":
            shutil.copy(file, folder / name)
    questions: list[Question] = []
    with open(folder / name / f"{name}.inter", "w", encoding="utf-8") as stream:
        stream.write(f"{user}:token\t{item}:token\t{time}:float\n")
        for number, rows in inter.groupby(user):
            tokens = [str(whole.id2token(item, one)) for one in rows[item]][:-1]  # never the test item
            begin = max(min(3, len(tokens) - 1), len(tokens) - last)
            for step, token in enumerate(tokens[: begin + 2]):
                stream.write(f"{whole.id2token(user, number)}\t{token}\t{step}\n")
            questions += [(tokens[:at], tokens[at], at == len(tokens) - 1) for at in range(begin, len(tokens))]
    return questions


@torch.no_grad()
def ranks(side: dict[str, Any], questions: list[Question]) -> np.ndarray:
    """Rank of each question's item with row ``none``, from 1, ``[n_questions]``; seen items are ranked, too."""
    from recbole.data.interaction import Interaction

    model, dataset = side["model"].eval(), side["train"]._dataset
    number, length = dataset.field2token_id[dataset.iid_field], dataset.max_item_list_len
    found: list[np.ndarray] = []
    for begin in range(0, len(questions), 256):
        some = questions[begin : begin + 256]
        items = torch.zeros(len(some), length, dtype=torch.long)
        for row, (history, *_) in enumerate(some):
            known = torch.tensor([number[token] for token in history[-length:]])
            items[row, : len(known)] = known
        fields = {dataset.item_id_list_field: items, dataset.item_list_length_field: (items > 0).sum(1)}
        scores = model.full_sort_predict(Interaction(fields)).view(len(some), -1)
        scores[:, 0] = -torch.inf
        target = torch.tensor([[number[token]] for _, token, _ in some])
        found.append((scores > scores.gather(1, target)).sum(1).numpy() + 1)
    return np.concatenate(found)


def compare(settings: dict[str, Any], seed: int, last: int) -> dict[str, Any]:
    """Train on what comes before the questions and rank them with the best epoch of the validation that is left."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        questions = cut(settings, folder, last)
        newest = np.array([is_newest for *_, is_newest in questions])
        every = {"user_inter_num_interval": None, "item_inter_num_interval": None, "checkpoint_dir": place}
        side = build("InstructRec", seed, same=False, **{**settings, **every, "data_path": str(folder)})
        curve: list[float] = []
        trainer = side["trainer"]
        trainer.fit(side["train"], side["valid"], verbose=False, callback_fn=lambda _, score: curve.append(score))
        side["model"].load_state_dict(read(trainer.saved_model_file)["state_dict"])
        each = ndcg(ranks(side, questions), 10)
    found = {"ndcg": round(float(each.mean()), 6), "newest": round(float(each[newest].mean()), 6)}
    return {"questions": len(questions), "curve": [round(score, 6) for score in curve], **found}


def main() -> None:
    args = start(__doc__ or "", dataset="lastfm-tags", data_path="dataset", seeds=1, last=5, label="", options="{}")
    try:
        options = json.loads(args.options)
    except json.JSONDecodeError as error:
        sys.exit(f"--options is no JSON ({error}). Give it as '{{\"name\": value}}'.")
    here = {"dataset": args.dataset, "data_path": args.data_path, "report_rows": []}
    settings = {**settings_of(args.dataset), **here}
    label, kept = args.label or "as it is", {"options": options, "last": args.last}
    for seed in range(2020, 2020 + args.seeds):
        if pending("wider_validation", seed, kept, dataset=args.dataset, label=label):
            found = compare({**settings, **options}, seed, args.last)
            record("wider_validation", {"dataset": args.dataset, "label": label, "seed": seed, **kept, **found})
    lines = [line for line in recorded("wider_validation") if line["dataset"] == args.dataset]
    table(
        ["options", "seed", "questions", "NDCG@10 of all", "of the newest"],
        [(one["label"], one["seed"], one["questions"], f"{one['ndcg']:.4f}", f"{one['newest']:.4f}") for one in lines],
    )


if __name__ == "__main__":
    main()
