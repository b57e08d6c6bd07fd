"""Items that an instruction names by their title."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_instructrec.data.mentions import ItemMentions
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.mention_scores import MentionScores
from tests.support import build_all, build_data, make_config, small_interactions, write_dataset

NAMES = [
    "", "The Matrix", "Matrix, The", "It", "It", "Toy Story", "Toy Story 2", "千と千尋の神隠し",
    "The War", "Anything Else", "恐怖", "We're the Millers", "Café Société",
]  # fmt: skip
TEXTS = [
    "",
    "The Matrix. 1999",
    "Matrix, The. 2031",
    "It. 1990",
    "It. 2017",
    "Toy Story. 1995",
    "Toy Story 2. 1999",
    "",
    "The War. 1994. Drama",
    "Anything Else. 2003",
    "恐怖. 1999",
    "We're the Millers. 2013",
    "Café Société. 2016",
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I loved Toy Story!", [5]),
        ("toy story 2 was better than Toy Story (1995)", [6, 5]),
        ("it was a nice day", []),  # a word of the language
        ("It (2017) scared me, It (1990) did not", [4, 3]),
        ("the matrix (1999) or the matrix (2031)?", [1, 2]),
        ("the matrix", []),  # two of that name, and no year
        ("Toy Story, Toy Story and toy story", [5]),
        ("千と千尋の神隠し を見た", [7]),
        ("", []),
        ("no horror and nothing from the War movies, anything else is fine", []),
        ("不要恐怖片", []),
        ("were the millers, WE’RE THE MILLERS, 'cafe societe'", [11, 12]),
        ("The War (1994) and Anything Else (2003), 恐怖 1999", [8, 9, 10]),
    ],
)
def test_titles_are_found(text, found):
    assert ItemMentions(NAMES, TEXTS).find(text) == found


def test_nothing_is_found_in_a_catalogue_without_names():
    assert ItemMentions(["", "", ""], ["", "", ""]).find("The Matrix") == []


def scores_of(mentions, told):
    vectors = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    vectors[0] = 0
    numbers, targets = (np.array(part, dtype=np.int64) for part in zip(*told, strict=True))
    return MentionScores(mentions, (numbers, targets), vectors)


def test_who_named_the_same_took_this():
    # Texts 1 and 2 name item 1 and led to items 3 and 4; text 3 names item 2 and led to 5.
    scores = scores_of([[], [1], [1], [2]], [(1, 3), (2, 4), (3, 5)]).eval()
    with torch.no_grad():
        scores.alike.zero_()
        found = scores([[1], [2], []])
    assert found[0, 3] == found[0, 4] > 0 == found[0, 5]
    assert found[1, 5] > 0 == found[1, 3]
    assert found[0, 1] < 0  # what is named is not what is asked for
    assert not found[2].any()


def test_own_targets_are_not_counted_in_training():
    scores = scores_of([[], [1], [1]], [(1, 3), (2, 4), (1, 5)])
    with torch.no_grad():
        scores.alike.zero_()
        scores.named.zero_()
    alone = scores.train()([[1]], [1])[0]
    assert alone[3] == alone[5] == 0 < alone[4]
    assert scores.eval()([[1]], [1])[0][3] > 0
    assert scores.train()([[1]])[0][3] > 0  # a text that is not of the data set


def test_own_targets_that_the_text_names_are_not_counted_either():
    scores = scores_of([[], [1, 3], [3]], [(1, 3), (2, 4)])
    with torch.no_grad():
        scores.alike.zero_()
        scores.named.zero_()
    assert scores.train()([[1, 3]], [1])[0][3] == 0
    assert scores.eval()([[1, 3]], [1])[0][3] > 0


def test_weights_are_learned():
    scores = scores_of([[], [1], [1]], [(1, 3), (2, 3)])
    torch.nn.functional.cross_entropy(scores([[1]], [1]), torch.tensor([3])).backward()
    assert all(parameter.grad is not None and parameter.grad.abs() > 0 for parameter in scores.parameters())


def told_films(tmp_path, texts):
    """Five interactions of a user and some of others; texts before the first user's."""
    interactions = [*small_interactions(), *(("a", f"i{n}", n) for n in range(1, 6))]
    rows = [(*row, f"q{row[1]}" if row[0] == "a" and row[1] in texts else "") for row in interactions]
    folder = write_dataset(
        tmp_path,
        "films",
        interactions=rows,
        inter_header="user_id:token\titem_id:token\ttimestamp:float\tinstruction_id:token",
    )
    lines = ["instruction_id:token\tinstruction:token_seq", *(f"q{item}\t{text}" for item, text in texts.items())]
    (folder / "films" / "films.inst").write_text("\n".join(lines) + "\n")
    columns = {"inter": ["user_id", "item_id", "timestamp", "instruction_id"], "item": ["item_id", "title", "genre"]}
    return make_config(folder, load_col=columns, epochs=1)


def test_model_hears_titles(tmp_path):
    _, trainer, _, _, test = build_all(told_films(tmp_path, {"i3": "like Film number 7"}))
    model, dataset = trainer.model.eval(), test._dataset
    item = dataset.item_names.index("Film number 9")
    said = model.hear(["something like film number 9", "something else"])
    assert said.mentions == [[item], []]
    rows = dataset[[0, 1]]
    with torch.no_grad():
        with_titles = all_scores(model.request(rows, said))
        without = all_scores(model.request(rows, said._replace(mentions=[])))
    assert torch.isfinite(with_titles).all()
    assert not torch.equal(with_titles[0], without[0]) and torch.equal(with_titles[1], without[1])


def test_a_told_target_is_a_training_target_with_a_text(tmp_path):
    # Of the texts one belongs to the held-out test target.
    _, train, _, _ = build_data(told_films(tmp_path, {"i3": "more of it", "i5": "and more"}))
    dataset = train._dataset
    numbers, items = dataset.told_targets()
    assert [dataset.instructions.texts[number] for number in numbers] == ["more of it"]
    assert dataset.field2id_token["item_id"][items].tolist() == ["i3"]
