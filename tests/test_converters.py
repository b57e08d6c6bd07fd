"""Official raw files to atomic files."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
from recbole.config import Config

from recbole_instructrec import cli
from recbole_instructrec.data.converters import clinc150, redial
from recbole_instructrec.data.converters.atomic import ConversionError, write_atomic_file
from recbole_instructrec.data.dataset import INSTRUCTION
from tests.support import build_data

SEEKER, OTHER = 7, 8


def dialogue(number, messages, *, suggested=(), liked=(), names=None, seeker=SEEKER, answers="initiatorQuestions"):
    """One line of ReDial: messages are (speaker, text)."""
    films = {film for _, text in messages for film in text.split() if film.startswith("@")}
    films = {film[1:] for film in films}
    form = {film: {"suggested": int(film in suggested), "seen": 1, "liked": int(film in liked)} for film in films}
    line = {
        "conversationId": str(number),
        "initiatorWorkerId": seeker,
        "respondentWorkerId": OTHER,
        "messages": [{"senderWorkerId": who, "text": text} for who, text in messages],
        "movieMentions": {film: (names or {}).get(film, f"Film {film} (1990)") for film in films},
        "initiatorQuestions": {},
        "respondentQuestions": [],
    }
    line[answers] = form
    return line


def filler(number, film="900"):
    """A dialogue that gives one example."""
    return dialogue(
        number,
        [(SEEKER + 100 + number, "hello"), (OTHER, f"try @{film} now")],
        suggested=[film],
        liked=[film],
        seeker=SEEKER + 100 + number,
    )


def write_redial(folder, dialogues, films=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jsonl").write_text("\n".join(json.dumps(d) if isinstance(d, dict) else d for d in dialogues) + "\n")
    rows = ["movieId,movieName,nbMentions", '1,"Good, Bad (1966)",3', *films]
    (folder / "movies_with_mentions.csv").write_text("\n".join(rows) + "\n")
    return folder


def rows_of(folder, part, name="redial"):
    """Rows of one part as dicts, with the instruction's text."""
    texts = dict(line.split("\t", 1) for line in (folder / name / f"{name}.inst").read_text().splitlines()[1:])
    head, *lines = (folder / name / f"{name}.{part}.inter").read_text().splitlines()
    columns = [cell.split(":")[0] for cell in head.split("\t")]
    rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in lines]
    for row in rows:
        row["text"] = texts.get(row["instruction_id"], "")
    return rows


def test_redial_example_holds_what_was_said_before_and_nothing_after(tmp_path):
    first = dialogue(
        100,
        [
            (SEEKER, "I liked @1 but not @2"),
            (OTHER, "secret-other word, do you know @3 ?"),
            (SEEKER, "secret-later yes, and @4 too"),
            (OTHER, "then @5"),
            (SEEKER, "secret-last"),
        ],
        suggested=["3", "5"],
        liked=["1", "3", "4", "5"],
    )
    second = dialogue(101, [(SEEKER, "again"), (OTHER, "@6")], suggested=["6"], liked=["6"])
    source = write_redial(tmp_path / "raw", [first, second, *(filler(n) for n in range(200, 210))])
    redial.convert(source, tmp_path)
    rows = rows_of(tmp_path, "train")
    three, five, six = rows[:3]
    assert three["item_id"] == "3"
    assert three["text"] == "I liked Good, Bad (1966) but not Film 2 (1990)"
    assert three["item_id_list"] == "1"
    assert five["item_id"] == "5"
    assert five["text"].endswith("secret-later yes, and Film 4 (1990) too")
    assert five["item_id_list"] == "1 4"
    assert "secret-other" not in five["text"] and "secret-last" not in five["text"]
    assert six["text"] == "again"
    assert six["item_id_list"] == "1 3 4 5"  # everything liked in the earlier dialogue, in its order


def test_redial_nothing_after_the_target_reaches_an_example(tmp_path):
    """Whatever follows the message that names the target first may change: the example stays the same."""

    def convert(name, tail):
        talk = [(SEEKER, "I want a heist"), (OTHER, "maybe @3"), *tail]
        lines = [dialogue(1, talk, suggested=["3"], liked=["3", "4"]), *(filler(n) for n in range(200, 210))]
        redial.convert(write_redial(tmp_path / name, lines), tmp_path / f"{name}-out")
        return rows_of(tmp_path / f"{name}-out", "train")[0]

    plain = convert("plain", [])
    assert convert("more", [(SEEKER, "great, I also love @4"), (OTHER, "and @5")]) == plain


def test_redial_target_must_be_suggested_liked_and_named_first_by_the_other(tmp_path):
    talk = [(SEEKER, "I know @1 and also Some Long Title"), (OTHER, "@1 @2 @3 @4 @5 ok")]
    names = {"5": "Some Long Title (2001)"}
    line = dialogue(1, talk, suggested=["1", "2", "4", "5"], liked=["1", "3", "4", "5"], names=names)
    source = write_redial(tmp_path / "raw", [line, *(filler(n) for n in range(200, 210))])
    redial.convert(source, tmp_path)
    mine = [row["item_id"] for row in rows_of(tmp_path, "train") if row["user_id"] == str(SEEKER)]
    assert mine == ["4"]  # 1 was named before, 2 not liked, 3 not suggested, 5 named in words


@pytest.mark.parametrize(
    ("who", "words", "name"),
    [
        (OTHER, "have you seen the silent river?", "The Silent River (1990)"),
        (OTHER, "Silent River is great", "The Silent River (1990)"),
        (SEEKER, "like fast and furious", "Fast & Furious (2009)"),
        (SEEKER, "something like Jaws", "Jaws (1975)"),
        (SEEKER, "my parents loved schindlers list", "Schindler's List (1993)"),
        (OTHER, "Schindler’s List?", "Schindlers List (1993)"),
        (SEEKER, "amelie was sweet", "Amélie (2001)"),
        (SEEKER, "i love alien", "Alien (1979)"),
        (OTHER, "ALIEN!", "Alien (1979)"),
        (SEEKER, "It scared me", "It (2017)"),
    ],
)
def test_redial_target_named_in_words_by_either_side_is_left_out(tmp_path, who, words, name):
    talk = [(SEEKER, "hi"), (who, words), (SEEKER, "no but that sounds perfect"), (OTHER, "it is @5")]
    line = dialogue(1, talk, suggested=["5"], liked=["5"], names={"5": name})
    redial.convert(write_redial(tmp_path / "raw", [line, *(filler(n) for n in range(200, 210))]), tmp_path)
    assert not [row for row in rows_of(tmp_path, "train") if row["user_id"] == str(SEEKER)]


def test_redial_short_titles_are_not_found_in_any_sentence(tmp_path):
    talk = [(SEEKER, "is it good? what is up, i saw it"), (OTHER, "@5 or @6 or @7")]
    names = {"5": "It (2017)", "6": "Up (2009)", "7": "Saw (2004)"}
    line = dialogue(1, talk, suggested=["5", "6", "7"], liked=["5", "6", "7"], names=names)
    redial.convert(write_redial(tmp_path / "raw", [line, *(filler(n) for n in range(200, 210))]), tmp_path)
    assert [row["item_id"] for row in rows_of(tmp_path, "train") if row["user_id"] == str(SEEKER)] == ["5", "6", "7"]


def test_redial_a_film_liked_again_keeps_its_place(tmp_path):
    lines = [
        dialogue(1, [(SEEKER, "@1 and @2"), (OTHER, "@3")], liked=["1", "2", "3"]),
        dialogue(2, [(SEEKER, "@1 again"), (OTHER, "@4")], suggested=["4"], liked=["1", "4"]),
    ]
    redial.convert(write_redial(tmp_path / "raw", [*lines, *(filler(n) for n in range(200, 210))]), tmp_path)
    assert rows_of(tmp_path, "train")[0]["item_id_list"] == "1 2 3"


def test_redial_parts_follow_time_and_dialogues_stay_whole(tmp_path):
    lines = [filler(n, film=str(n)) for n in range(1, 41)]
    source = write_redial(tmp_path / "raw", [*reversed(lines), lines[3]])
    counts = redial.convert(source, tmp_path)
    targets = [[int(row["item_id"]) for row in rows_of(tmp_path, part)] for part in ("train", "valid", "test")]
    assert targets == [list(range(1, 33)), list(range(33, 37)), list(range(37, 41))]
    assert counts["dialogues"] == 40


def test_redial_the_others_answers_serve_where_the_seeker_gave_none(tmp_path):
    line = dialogue(1, [(SEEKER, "hi"), (OTHER, "@3")], suggested=["3"], liked=["3"], answers="respondentQuestions")
    line["initiatorQuestions"] = []
    redial.convert(write_redial(tmp_path / "raw", [line, *(filler(n) for n in range(200, 210))]), tmp_path)
    assert rows_of(tmp_path, "train")[0]["item_id"] == "3"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"conversationId": "1", "mess', "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON: nested more than 100 deep: line 1 column 101"),
        ({"conversationId": "x"}, "line 2: field conversationId"),
        ({"conversationId": "²"}, "line 2: field conversationId"),
        ({"conversationId": "9" * 5000}, "line 2: field conversationId"),
        ({"conversationId": "1", "initiatorWorkerId": "me"}, "line 2: field initiatorWorkerId"),
        (dialogue(1, []) | {"messages": {}}, "line 2: field messages"),
        (dialogue(1, []) | {"messages": [{"text": 1}]}, r"line 2: field messages\[0\].text"),
        (dialogue(1, []) | {"movieMentions": None}, "line 2: field movieMentions"),
        (dialogue(1, []) | {"initiatorQuestions": {"3": 1}}, "line 2: field initiatorQuestions"),
        ([1], "line 2: a dialogue is expected"),
    ],
)
def test_redial_broken_lines_are_counted_and_named(tmp_path, caplog, line, message):
    text = json.dumps(line) if isinstance(line, list) else line
    source = write_redial(tmp_path / "raw", [filler(200), text, *(filler(n) for n in range(201, 220))])
    redial.convert(source, tmp_path)
    assert "1 broken lines are left out" in caplog.text
    assert message.replace("\\", "") in caplog.text
    (source / "a.jsonl").write_text("\n" + text if isinstance(text, str) else "\n" + json.dumps(text))
    with pytest.raises(ConversionError, match=message):
        redial.convert(source, tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['5,"Lost (1990),1', "6,Next (1991),2"], "line 3: unexpected end of data"),
        (['5,"Lost (1990),1', '6,"Next (1991)",2'], "line 3: ',' expected after '\"'"),
        (['5,"Lost (1990),1', '6,Next (1991)",2'], "line 3: a cell goes on in the next line"),
        (["5,Kept (1990),1", "6," + "x" * 131_073], "line 4: field larger than field limit"),
    ],
)
def test_redial_damaged_list_of_films(tmp_path, monkeypatch, capsys, rows, message):
    source = write_redial(tmp_path / "raw", [filler(n) for n in range(200, 220)], rows)
    monkeypatch.setattr(sys, "argv", ["instructrec", "convert", "redial", f"--source={source}", f"--output={tmp_path}"])
    assert cli.main() == 1
    said = capsys.readouterr().err
    assert f"error: movies_with_mentions.csv, {message}" in said and "not closed" in said and "Traceback" not in said


def test_redial_films_without_a_number_or_a_name_are_counted(tmp_path, caplog):
    line = filler(200)
    line["movieMentions"] |= {"²": "Square (2000)", "5": None}
    source = write_redial(
        tmp_path / "raw", [line, *(filler(n) for n in range(201, 220))], ["²,Square (2000),1", "6,,1"]
    )
    assert redial.convert(source, tmp_path)["items"] == 2
    assert "2 films of the list have no number or no name (such as movies_with_mentions.csv, line 3)" in caplog.text
    assert "2 films of dialogues have no number or no name (such as dialogue 200, film ²)" in caplog.text


def test_redial_details_of_another_form_are_counted(tmp_path, caplog):
    source = write_redial(tmp_path / "raw", [filler(n) for n in range(200, 220)])
    details = {
        "1": {"genre": "comedy", "director": ["A B", "C"], "star": [1], "plot": ["none"]},
        "900": {"genre": ["war"], "star": None, "plot": "They fight."},
        "5": "Drama",
    }
    (source / "id2info.json").write_text(json.dumps(details))
    redial.convert(source, tmp_path)
    items = (tmp_path / "redial" / "redial.item").read_text().splitlines()[1:]
    assert items == ["1\tGood, Bad\t1966\t\tA-B C\t\t", "900\tFilm 900\t1990\twar\t\t\tThey fight."]
    for said in (
        "2 genres, directors or stars of a film are no list of names: left out (such as id2info.json, film 1",
        "1 plots are no text: left out (such as id2info.json, film 1, field plot)",
        "1 films have details that are no object: left out (such as id2info.json, film 5)",
    ):
        assert said in caplog.text


def test_redial_says_what_was_read(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    numbered = [filler(200) | {"conversationId": 200}, filler(200) | {"conversationId": "0200"}]
    source = write_redial(tmp_path / "raw", [*(filler(n) for n in range(200, 220)), *numbered])
    (source / "b.jsonl").write_text("".join(json.dumps(filler(n)) + "\n" for n in (219, 220)))
    assert redial.convert(source, tmp_path)["dialogues"] == 21
    assert "a.jsonl: 22 dialogues, 2 of them duplicates\n" in caplog.text
    assert "b.jsonl: 2 dialogues, 1 of them duplicates\n" in caplog.text
    assert f"train_data.jsonl, the official training file, is not in {source}" in caplog.text
    caplog.clear()
    (source / "b.jsonl").rename(source / "train_data.jsonl")
    redial.convert(source, tmp_path)
    assert "train_data.jsonl: 2 dialogues" in caplog.text and "official training file" not in caplog.text


def test_redial_texts_that_cannot_be_written_are_written_without_what_is_at_fault(tmp_path):
    line = dialogue(1, [(SEEKER, "half \ud83d a\x00 smile"), (OTHER, "@3")], suggested=["3"], liked=["3"])
    redial.convert(write_redial(tmp_path / "raw", [line, *(filler(n) for n in range(200, 210))]), tmp_path)
    assert rows_of(tmp_path, "train")[0]["text"] == "half a smile"


def test_redial_missing_files(tmp_path):
    with pytest.raises(ConversionError, match=r"no \*.jsonl"):
        redial.convert(tmp_path, tmp_path / "out")
    (tmp_path / "a.jsonl").write_text(json.dumps(filler(1)) + "\n")
    with pytest.raises(ConversionError, match=r"movies_with_mentions\.csv"):
        redial.convert(tmp_path, tmp_path / "out")
    (tmp_path / "movies_with_mentions.csv").write_text("a,b\n")
    with pytest.raises(ConversionError, match="line 1: the columns movieId"):
        redial.convert(tmp_path, tmp_path / "out")
    (tmp_path / "movies_with_mentions.csv").write_text("movieId,movieName\n1,A\n")
    (tmp_path / "id2info.json").write_text("[1]")
    with pytest.raises(ConversionError, match="an object is expected"):
        redial.convert(tmp_path, tmp_path / "out")
    (tmp_path / "id2info.json").write_text('{"1": ')
    with pytest.raises(ConversionError, match=r"id2info\.json: not JSON: .*line 1"):
        redial.convert(tmp_path, tmp_path / "out")
    (tmp_path / "id2info.json").write_text('{"]]":\n' + "[" * 100_000)
    with pytest.raises(ConversionError, match=r"id2info\.json: .*nested more than 100 deep: line 2 column 100"):
        redial.convert(tmp_path, tmp_path / "out")


def write_clinc(folder, **changes):
    folder.mkdir(exist_ok=True)
    data = {
        "train": [["play a song", "play_music"], ["what's my balance", "balance"]],
        "val": [["put on music", "play_music"]],
        "test": [["how much money\tdo i have", "balance"]],
        "oos_train": [["why is the sky blue", "oos"]],
        "oos_val": [["who won", "oos"]],
        "oos_test": [["how tall is it", "oos"]],
    }
    (folder / "data_full.json").write_text(json.dumps(data | changes))
    (folder / "domains.json").write_text(json.dumps({"banking": ["balance"], "home": ["play_music"]}))
    return folder


def test_clinc150_keeps_the_official_split(tmp_path):
    counts = clinc150.convert(write_clinc(tmp_path / "raw"), tmp_path)
    assert counts == {"train": 3, "valid": 2, "test": 2, "items": 3}
    test = rows_of(tmp_path, "test", "clinc150")
    assert [(row["item_id"], row["text"]) for row in test] == [
        ("balance", "how much money do i have"),
        ("oos", "how tall is it"),
    ]
    items = (tmp_path / "clinc150" / "clinc150.item").read_text().splitlines()
    assert "play_music\tplay music\thome" in items and "oos\tout of scope\t" in items


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val": []}, "field val: a list"),
        ({"train": [["only text"]]}, "field train, entry 0"),
        ({"oos_test": [["a", "oos"], ["", "oos"]]}, "field oos_test, entry 1"),
        ({"oos_test": [["a", "oos"], ["b", "balance"]]}, "field oos_test, entry 1: oos is expected, not 'balance'"),
        ({"test": [["a", "oos"]]}, "field test, entry 0: an intent of domains.json is expected, not 'oos'"),
        ({"train": [["a", "balance"], ["b", "ballance"]]}, "field train, entry 1: an intent of domains.json"),
    ],
)
def test_clinc150_damaged_files(tmp_path, change, message):
    with pytest.raises(ConversionError, match=message):
        clinc150.convert(write_clinc(tmp_path / "raw", **change), tmp_path)
    assert not (tmp_path / "clinc150").exists()


def test_clinc150_without_domains_the_training_list_says_which_intents_there_are(tmp_path, caplog):
    source = write_clinc(tmp_path / "raw")
    (source / "domains.json").unlink()
    clinc150.convert(source, tmp_path)
    assert "domains.json is missing" in caplog.text
    assert "balance\tbalance\t" in (tmp_path / "clinc150" / "clinc150.item").read_text().splitlines()
    write_clinc(tmp_path / "raw", val=[["a", "ballance"]])
    (source / "domains.json").unlink()
    with pytest.raises(ConversionError, match="field val, entry 0: an intent of the training list is expected"):
        clinc150.convert(source, tmp_path)


def test_clinc150_truncated_or_missing(tmp_path):
    with pytest.raises(ConversionError, match=r"data_full\.json is missing"):
        clinc150.convert(tmp_path, tmp_path)
    folder = write_clinc(tmp_path / "raw")
    (folder / "data_full.json").write_text('{"train": [["a", "b"],')
    with pytest.raises(ConversionError, match=r"cut off.*line 1 column"):
        clinc150.convert(folder, tmp_path)


@pytest.mark.parametrize("name", ["redial", "clinc150"])
def test_converted_files_load_with_their_configuration(tmp_path, name):
    if name == "redial":
        lines = [
            dialogue(
                n,
                [(SEEKER, f"wish {n} like @1"), (OTHER, f"@{2 + n % 5}")],
                suggested=[str(2 + n % 5)],
                liked=["1", str(2 + n % 5)],
            )
            for n in range(1, 41)
        ]
        details = {str(n): {"genre": ["comedy"] if n % 2 else ["drama", "war"]} for n in range(1, 8)}
        source = write_redial(tmp_path / "raw", lines)
        (source / "id2info.json").write_text(json.dumps(details))
        redial.convert(source, tmp_path)
    else:
        clinc150.convert(write_clinc(tmp_path / "raw"), tmp_path)
    file = Path(__file__).parent.parent / "dataset_configs" / f"{name}.yaml"
    config = Config("InstructRec", name, [str(file)], config_dict={"data_path": str(tmp_path), "show_progress": False})
    _, train, _, test = build_data(config)
    assert "file" in test._dataset.available_rows()
    written = rows_of(tmp_path, "test", name)
    batch = test._dataset[list(range(len(written)))]
    tokens = test._dataset.field2id_token["item_id"]
    assert [tokens[item] for item in batch["item_id"]] == [row["item_id"] for row in written]
    said = [test._dataset.instructions.texts[number] for number in batch[INSTRUCTION]]
    assert said == [row["text"] for row in written]
    assert len(train._dataset) == len(rows_of(tmp_path, "train", name))


def test_atomic_file_is_whole_or_not_there(tmp_path):
    def rows():
        yield ("a", 1)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_atomic_file(tmp_path / "d" / "d.item", ("item_id:token", "n:float"), rows())
    assert not list((tmp_path / "d").iterdir())
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        write_atomic_file(tmp_path / "d" / "d.item", ("item_id:token", "n:float"), [("a",)])
