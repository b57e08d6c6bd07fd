"""What an instruction may know, where its words come from, and what happens without one."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from recbole_instructrec.data.dataset import INSTRUCTION
from recbole_instructrec.data.instructions import InstructionBank, InstructionError, Templates, mixture
from tests.support import GENRES, build_data, make_config, small_interactions, small_items, write_dataset


def texts_of(dataset, source):
    dataset.use_instructions(source)
    return [dataset.instructions.texts[n] for n in dataset[:][INSTRUCTION].tolist()]


def test_rows_that_a_data_set_can_give(films):
    dataset = build_data(make_config(films))[3]._dataset
    assert dataset.available_rows() == ["none", "history", "intent", "shuffled"]
    bare = build_data(make_config(films, intent_field=None, item_text_fields=[]))[3]._dataset
    assert bare.available_rows() == ["none"]
    titles = build_data(make_config(films, intent_field=None))[3]._dataset
    assert titles.available_rows() == ["none", "history"]
    assert all("Film number" in text for text in texts_of(titles, "history"))


@pytest.mark.parametrize("source", ["none", "history"])
def test_target_never_reaches_none_and_history(tmp_path, source):
    """Exchange every user's last item and time: what the model is given stays the same."""
    rows = small_interactions()
    latest: dict[str, tuple] = {}
    for row in rows:
        if row[0] not in latest or row[2] > latest[row[0]][2]:
            latest[row[0]] = row
    other = [(u, f"i{(int(i[1:]) + 7) % 25}", t + 5) if (u, i, t) == latest[u] else (u, i, t) for u, i, t in rows]
    given = []
    for name, interactions in (("a", rows), ("b", other)):
        data = write_dataset(tmp_path / name, "films", interactions)
        dataset = build_data(make_config(data, instruction_source=source))[3]._dataset
        items = dataset.field2id_token["item_id"]
        batch = dataset[:]
        order = np.argsort(dataset.field2id_token["user_id"][batch["user_id"]])
        given.append(
            [
                (items[batch["item_id_list"][k]].tolist(), dataset.instructions.texts[int(batch[INSTRUCTION][k])])
                for k in order
            ]
        )
        targets = items[batch["item_id"]][order].tolist()
        given[-1] = (given[-1], targets)
    assert given[0][1] != given[1][1]
    assert given[0][0] == given[1][0]


def test_history_sentence_is_made_from_earlier_items(films):
    dataset = build_data(make_config(films))[3]._dataset
    dataset.use_instructions("history")
    names = dataset.attributes.names
    for row in range(len(dataset)):
        batch = dataset[row]
        read = batch["item_id_list"][: int(batch["item_length"])].numpy()
        end = int(dataset.inter_feat["history_end"][row])
        before = dataset.history.item[max(dataset.history.user_start[end], end - 10) : end]
        assert set(read[-10:]) <= set(before)
        counts = np.asarray(dataset.attributes.matrix[before].sum(0)).ravel()
        order = sorted(range(len(names)), key=lambda a: (-counts[a], a))
        text = dataset.instructions.texts[int(batch[INSTRUCTION])]
        said = sorted((name for name in names if name in text), key=text.index)
        assert said == [names[a] for a in order[:2] if counts[a]]


def test_intent_asks_for_an_attribute_of_the_target_in_held_out_words(films):
    dataset = build_data(make_config(films))[3]._dataset
    held_out = {text for g in GENRES for text in Templates(["en"]).texts("intent", "held_out", [g])}
    items = {i: g.split() for i, _, g in small_items()}
    names = dataset.field2id_token["item_id"]
    batch = dataset[:]
    for text, item in zip(texts_of(dataset, "intent"), names[batch["item_id"]], strict=True):
        assert text in held_out
        assert any(genre in text for genre in items[item])
    assert texts_of(dataset, "intent") == texts_of(dataset, "intent")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["intent", "history", "history_single", "history_title"])
def test_training_and_held_out_words_are_apart(language, kind):
    templates = Templates([language])
    train = set(templates.texts(kind, "train", ["A", "B"]))
    held_out = set(templates.texts(kind, "held_out", ["A", "B"]))
    assert train and held_out and not train & held_out


def test_training_draws_training_words_only(films):
    _, train, _, _ = build_data(make_config(films))
    held_out = {t for g in GENRES for t in Templates(["en"]).texts("intent", "held_out", [g])}
    drawn = {train._dataset.instructions.texts[n] for b in train for n in b[INSTRUCTION].flatten().tolist()}
    assert "" in drawn and len(drawn) > 5
    assert not drawn & held_out


def test_validation_has_words_of_its_own(films):
    _, _, valid, test = build_data(make_config(films))
    said = {}
    for part, loader in (("dev", valid), ("held_out", test)):
        written = {text for genre in GENRES for text in Templates(["en"]).texts("intent", part, [genre])}
        said[part] = set(texts_of(loader._dataset, "intent"))
        assert said[part] - {""} and said[part] - {""} <= written
    assert not said["dev"] & said["held_out"] - {""}


def test_chinese(films):
    dataset = build_data(make_config(films, instruction_language=["zh"]))[3]._dataset
    said = " ".join(texts_of(dataset, "intent"))
    assert "喜剧" in said or "剧情片" in said
    assert "Comedy" not in said


def test_unknown_language(films):
    with pytest.raises(InstructionError, match="xx"):
        build_data(make_config(films, instruction_language="xx"))


def test_shuffled_is_another_users_request(films):
    dataset = build_data(make_config(films))[3]._dataset
    own = dataset._of_another_user()
    users = dataset.inter_feat["user_id"]
    assert (users[own] != users).all()
    assert sorted(users[own].tolist()) == sorted(users.tolist())
    intent = texts_of(dataset, "intent")
    assert texts_of(dataset, "shuffled") == [intent[k] for k in own.tolist()]


def write_with_file(tmp_path, inst):
    rows = [(u, i, t, f"x{k % 5}") for k, (u, i, t) in enumerate(small_interactions())]
    header = "user_id:token\titem_id:token\ttimestamp:float\tinstruction_id:token"
    data = write_dataset(tmp_path / "d", "films", rows, inter_header=header)
    if inst is not None:
        (data / "films" / "films.inst").write_text(inst, encoding="utf-8")
    columns = {"inter": ["user_id", "item_id", "timestamp", "instruction_id"], "item": ["item_id", "title", "genre"]}
    return make_config(data, load_col=columns, instruction_source="file")


INST = 'instruction_id:token\tinstruction:token_seq\nx0\t"quoted" and NA\nx1\t来点 喜剧 🎬\nx2\t   \nx3\ta\tb\n'


def test_instructions_from_a_file(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = build_data(write_with_file(tmp_path, INST))[3]._dataset
    found = set(texts_of(dataset, "file"))
    assert found <= {'"quoted" and NA', "来点 喜剧 🎬", "a b", ""}
    assert len(found) > 2
    assert "2 instruction ids have no text" in caplog.text  # x2 is blank, x4 is not there
    by_id = dict(zip(dataset.field2id_token["instruction_id"], range(9), strict=False))
    batch = dataset[:]
    for text, number in zip(texts_of(dataset, "file"), batch["instruction_id"].tolist(), strict=True):
        assert text == {by_id["x0"]: '"quoted" and NA', by_id["x1"]: "来点 喜剧 🎬", by_id["x3"]: "a b"}.get(number, "")


def test_instruction_file_missing_or_damaged(tmp_path):
    with pytest.raises(InstructionError, match=r"films\.inst"):
        build_data(write_with_file(tmp_path, None))
    with pytest.raises(InstructionError, match="line 3"):
        build_data(write_with_file(tmp_path, "instruction_id:token\tinstruction:token_seq\nx0\ttext\nx1\n"))
    with pytest.raises(InstructionError, match="header"):
        build_data(write_with_file(tmp_path, "wrong\ttext\nx0\ttext\n"))


def test_instruction_file_of_a_spreadsheet(tmp_path, caplog):
    """A byte-order mark, empty lines, repeated ids, and characters that look like line ends."""
    inst = "\ufeffinstruction_id:token\tinstruction:token_seq\nx0\tfirst\n\nx0\tagain\nx1\ta\x0bb\u2028c\n\n"
    with caplog.at_level(logging.WARNING):
        dataset = build_data(write_with_file(tmp_path, inst))[3]._dataset
    assert "1 lines of" in caplog.text and "repeat an instruction id" in caplog.text
    assert set(texts_of(dataset, "file")) <= {"first", "a b c", ""}


def test_one_user_has_nobody_to_exchange_with(tmp_path):
    rows = [("a", f"i{k}", 880_000_000 + k) for k in range(9)]
    dataset = build_data(make_config(write_dataset(tmp_path / "d", "films", rows)))[3]._dataset
    assert dataset.available_rows() == ["none", "history", "intent"]


def test_source_that_the_data_cannot_give(films):
    with pytest.raises(InstructionError, match=r"\.inst file"):
        build_data(make_config(films, instruction_source="file"))
    with pytest.raises(InstructionError, match="unknown"):
        build_data(make_config(films, instruction_source="horoscope"))


def test_bank_of_texts():
    bank = InstructionBank()
    assert bank.add("", None) == bank.add("  \t\n ", None) == 0
    assert bank.add("a  b", (1,)) == bank.add(" a b ", (1,)) == 1
    assert bank.add("😀 смешанный 混合", None) == 2


def test_mixture_of_sources():
    names, cumulated = mixture({"none": 1, "intent": 1, "file": 2}, ["none", "intent"])
    assert names == ["none", "intent"] and np.allclose(cumulated, [0.75, 1.0])
    for wrong in ({"shuffled": 1}, {"moon": 1}, {"none": -1}, {"none": 0}, {"none": "much"}):
        with pytest.raises(InstructionError):
            mixture(wrong, ["none"])


def test_items_without_attributes_ask_for_nothing(tmp_path, caplog):
    items = [(i, t, g if k else "") for k, (i, t, g) in enumerate(small_items())]
    with caplog.at_level(logging.WARNING):
        dataset = build_data(make_config(write_dataset(tmp_path / "d", "films", items=items)))[3]._dataset
    assert "1 of 25 items have none of the attributes" in caplog.text
    code = dataset.field2token_id["item_id"]["i0"]
    numbers = dataset.sources["intent"].numbers(np.flatnonzero(dataset.history.item == code), None)
    assert (numbers == 0).all() and isinstance(dataset[0][INSTRUCTION], torch.Tensor)


def test_a_part_with_one_user_has_no_shuffled_row(films):
    _, _, _, test = build_data(make_config(films))
    part = test._dataset
    assert "shuffled" in part.available_rows()
    one = part.copy(part.inter_feat[part.inter_feat["user_id"] == part.inter_feat["user_id"][0]])
    assert "shuffled" not in one.available_rows()
