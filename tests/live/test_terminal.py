"""Chat, one-shot requests and files of them, and the subcommands on the command line."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_instructrec import cli
from recbole_instructrec.live import LiveError, Recommender
from recbole_instructrec.live.requests_file import answer_file
from recbole_instructrec.live.terminal import chat
from tests.live.support import history


def talk(recommender: Recommender, *lines: str, user: str | None = "u1", width: int = 100) -> str:
    out = io.StringIO()
    assert chat(recommender, user, 3, io.StringIO("\n".join(lines)), out, width) == 0
    return out.getvalue()


def test_a_conversation_through_a_pipe(recommender: Recommender):
    said = talk(
        recommender, "a comedy, no horror", "like 2", "more like the first one", "history", "quit", "never read"
    )
    assert "Understood: Comedy, not Horror" in said or "Understood: not Horror, Comedy" in said
    assert said.count("  1. Film number") == 3 and "Noted: you like Film number" in said
    assert "More like Film number" in said and "never read" not in said
    kinds = [event.kind for event in recommender.store.events()]
    assert kinds == ["ask", "like", "ask", "ask"]


def test_reactions_by_number_and_what_is_wrong_with_them(recommender: Recommender):
    said = talk(recommender, "like 1", "a drama", "rate 1 4", "rate 1 9", "click 7", "rate 1 .", "why 1", "why 9")
    assert "! there is no number 1: there is no list yet." in said
    assert "Noted: you give Film number" in said and "! rating: a number from 1 to 5" in said
    assert "! there is no number 7: the list has 3 items." in said and "! there is no number 9" in said
    assert [event.value for event in recommender.store.events(reactions_only=True)] == [4.0]


def test_rules_hold_until_they_are_taken_off(recommender: Recommender):
    said = talk(recommender, "must genre=War", "must_not genre=Horror", "must genre=Wra", "rules", "rules off", "rules")
    lists = said.split("> ")
    assert all("War" in line and "Horror" not in line for line in lists[2].splitlines() if ". Film number" in line)
    assert "did you mean War?" in said
    assert "must genre=War; must_not genre=Horror" in said and said.rstrip().endswith("No rules.")
    off = next(section for section in lists if section.startswith("rules off"))
    assert "No rules any more." in off and "  1. Film number" in off, "the list is made anew"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("like", "! like: say which number of the list"),
        ("seen", "! seen: say which number of the list"),
        ("rate 1", "! rate: say which number of the list"),
        ("why", "! why: say which number of the list"),
        ("/help", "! There is no command /help"),
        ("must", "! must: write must COLUMN=VALUE"),
        ("must genre=", "! must: write must COLUMN=VALUE"),
        ("must not genre=War", "! must: write must COLUMN=VALUE"),
        ('must {"genre": "War"', "! must: write must COLUMN=VALUE"),
        ('must{"genre": "War"', "! must: write must COLUMN=VALUE"),
        ("must [1, 2]", "! must: write must COLUMN=VALUE"),
        ('must {"genre": ' + "[" * 100_000, "! must: write must COLUMN=VALUE"),
        ("must_not {" + '"genre": ' + "1" * 5000 + "}", "! must_not: write must_not COLUMN=VALUE"),
        ('must {"gnre": "War"}', "! must: the items have no column 'gnre'"),
    ],
)
def test_a_mistyped_command_is_no_request(recommender: Recommender, line: str, told: str):
    said = talk(recommender, "a comedy", line)
    assert told.lower() in said.split(f"> {line}")[1].lower()
    assert len(recommender.store.events()) == 1, "nothing was asked for, and nothing stored"


def test_rules_as_the_api_takes_them(recommender: Recommender):
    said = talk(recommender, 'must_not {"genre": "Horror"}', 'must {"genre": ["War", "Comedy"]}', "rules")
    assert "must genre=['War', 'Comedy']; must_not genre=Horror" in said


def test_reactions_to_several(recommender: Recommender):
    talk(recommender, "a comedy", "seen 1, 3", "like 7")
    shown = recommender.store.events("u1")[0].shown
    reactions = recommender.store.events("u1", reactions_only=True)
    assert [(event.kind, event.item) for event in reactions] == [("seen", shown[0]), ("seen", shown[2])]


def test_what_must_be_seen_is_a_request(recommender: Recommender):
    talk(recommender, "must see films")
    assert [event.instruction for event in recommender.store.events()] == ["must see films"]


def test_a_conversation_is_in_the_language_that_is_spoken(recommender: Recommender):
    said = talk(recommender, "喜剧", "like 1", "like 7", "history", "undo", "rules", "a comedy", "like 1")
    chinese, english = said.split("> a comedy")
    assert "Say what you would like" in chinese.split("> 喜剧")[0], "nobody has spoken yet"
    told = chinese.split("> 喜剧")[1]
    for words in (
        "已记下：你喜欢《Film number",
        "! 没有第 7 个：列表只有 3 个。",
        "已撤回你对《Film number",
        "没有规则。",
    ):
        assert words in told
    assert not re.search(r"Noted|Understood|recognised|Taken back", told)
    assert "Understood: Comedy" in english and "Noted: you like Film number" in english
    assert not re.search("[\u4e00-\u9fff]", english)


def test_reactions_are_taken_back_one_by_one(recommender: Recommender):
    before = history(recommender, "u1")
    said = talk(recommender, "a comedy", "like 1", "I hate the second one", "undo", "undo", "undo")
    disliked, liked = (
        recommender.catalogue.titles[recommender.catalogue.index[event.item]]
        for kind in ("dislike", "like")
        for event in recommender.store.events()
        if event.kind == kind
    )
    assert re.findall("Taken back: what you said of (.*)\\.", said) == [disliked, liked], "also what was told in words"
    assert "! undo: there is no reaction to take back in this conversation." in said
    assert history(recommender, "u1") == before


def test_another_user_is_spoken_to_in_the_same_language(recommender: Recommender):
    assert "! 没有第 1 个：还没有列表。" in talk(recommender, "喜剧", "user somebody", "like 1")


@pytest.mark.parametrize("wrong", ["7", "-1", "nan", "x"])
def test_a_wrong_variety_changes_nothing(recommender: Recommender, wrong: str):
    said = talk(recommender, "variety 0.5", f"variety {wrong}", "a comedy")
    assert said.count("! variety: a number") == 1 and said.split("> a comedy")[1].count("Film number") >= 3


def test_other_commands(recommender: Recommender):
    said = talk(recommender, "help", "variety 0.5", "variety x", "user somebody new", "history", "learn", "")
    assert "react; the list is made anew" in said and "! variety" in said
    assert "You are somebody new, 0 items taken." in said and "Nothing yet." in said
    assert "fewer than the" in said  # too little to learn from
    assert all(len(line) <= 80 for line in talk(recommender, "help", "a drama", width=80).splitlines())


def test_a_file_of_requests(recommender: Recommender, tmp_path: Path):
    source, output = tmp_path / "requests.jsonl", tmp_path / "out" / "answers.jsonl"
    source.write_text(
        '{"text": "a comedy", "user": "u1", "id": "first"}\n\nnot json\n{"text": 5}\n[]\n{"txt": "a"}\n'
        '{"text": "a drama", "k": 2, "must": {"genre": "War"}}\n{"user": "a\\u0000b"}\n{"must": {"genre": "Wra"}}\n',
        encoding="utf-8",
    )
    assert answer_file(recommender, source, output, 4) == (2, 6)
    told = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [one["line"] for one in told] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert told[0]["id"] == "first" and len(told[0]["items"]) == 4
    assert len(told[5]["items"]) == 2 and all("War" in item["attributes"] for item in told[5]["items"])
    assert "JSON" in told[1]["error"] and "txt" in told[4]["error"] and "did you mean War" in told[7]["error"]
    assert list(output.parent.iterdir()) == [output]


def test_many_requests_have_the_answers_of_each_alone(recommender: Recommender, tmp_path: Path):
    source, output = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    wanted = [{"text": text, "user": f"u{n % 30}"} for n in range(70) for text in ("a comedy", "no war please")]
    source.write_text("\n".join(map(json.dumps, wanted)), encoding="utf-8")
    assert answer_file(recommender, source, output, 3) == (140, 0)
    told = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    for place in (0, 63, 64, 139):
        alone = recommender.session(wanted[place]["user"]).ask(wanted[place]["text"], 3)
        assert [item["id"] for item in told[place]["items"]] == [item.id for item in alone]


def test_files_that_cannot_be_used(recommender: Recommender, tmp_path: Path):
    with pytest.raises(LiveError, match="cannot be read"):
        answer_file(recommender, tmp_path / "none.jsonl", None, 3)
    (tmp_path / "requests.jsonl").write_text("{}\n")
    with pytest.raises(LiveError, match="cannot be written"):
        answer_file(recommender, tmp_path / "requests.jsonl", tmp_path / "requests.jsonl" / "answers.jsonl", 3)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["instructrec", *arguments])
    return cli.main()


def test_the_command_line(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    store = f"--store={tmp_path / 'f.sqlite'}"
    folder = f"--checkpoint={checkpoint.parent}"  # its newest
    assert (
        run(monkeypatch, "recommend", "a comedy", folder, store, "--user=u3", "--k=2", '--must={"genre": "War"}') == 0
    )
    assert capsys.readouterr().out.count("Film number") >= 2
    assert run(monkeypatch, "recommend", "a comedy", folder, store, "--json") == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["items"]) == 5
    assert run(monkeypatch, "feedback", "--versions", folder, store) == 0
    assert "* " in capsys.readouterr().out
    assert run(monkeypatch, "feedback", f"--export={tmp_path / 'mine'}", folder, store) == 0
    assert (tmp_path / "mine" / "mine.inter").is_file()
    capsys.readouterr()
    assert run(monkeypatch, "feedback", "--forget=u3", folder, store) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["events"] == 1 and "Remove them there" in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recommend", "a", "--checkpoint=nowhere.pth"], "there is no checkpoint"),
        (["recommend", "a", "--checkpoint=."], "no .pth file"),
        (["feedback", "--use=7"], "no version 7"),
        (["recommend", "a", "--diversity=3"], "diversity: a number"),
        (["recommend", "a", "--rating_scale=5"], "two numbers"),
        (["serve", "--host=0.0.0.0"], "a token is needed"),
    ],
)
def test_errors_are_words(checkpoint: Path, arguments: list[str], words: str, monkeypatch, tmp_path: Path, capsys):
    given = [] if any(argument.startswith("--checkpoint") for argument in arguments) else [f"--checkpoint={checkpoint}"]
    assert run(monkeypatch, *arguments, *given, f"--store={tmp_path / 'f.sqlite'}") == 1
    told = capsys.readouterr()
    assert words in told.err and "Traceback" not in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recommend", "--requests=nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["recommend", "--requests=.", "--output=a.jsonl"], "cannot be read"),
        (["recommend", "--requests={here}", "--output=."], "cannot be written"),
        (["recommend", "--requests={here}", "--output={here}/a.jsonl"], "cannot be written"),
        (["recommend", "a", "--rating_scale=5"], "two numbers"),
        (["recommend", "a", "--store=nowhere/f.sqlite"], "nowhere. Make it"),
        (["serve", "--port={port}"], "something listens there already. Give another --port"),
        (["serve", "--host=nowhere.invalid", "--token=0123456789abcdef"], "Give another --host"),
        (["serve", "--token=short"], "at least 16 characters"),
        (["serve", "--host=0.0.0.0"], "a token is needed"),
    ],
)
def test_a_bad_command_line_is_told_before_anything_is_loaded(
    arguments: list[str], words: str, monkeypatch, tmp_path: Path, capsys
):
    monkeypatch.setattr(Recommender, "load", lambda *args, **kwargs: pytest.fail("this takes its time"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [one.format(here=__file__, port=taken.getsockname()[1]) for one in arguments]
        assert run(monkeypatch, *given) == 1
    told = capsys.readouterr()
    assert words in told.err and "Traceback" not in told.err


@pytest.mark.parametrize("argument", ["--k=0", "--k=101", "--k=ten", "--threads=-1"])
def test_numbers_out_of_their_bounds_are_told_with_the_bounds(argument: str, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "recommend", "a", argument)
    assert re.search(r"a number from \d+ to \d+ is expected", capsys.readouterr().err)


def test_rules_that_are_no_json_are_told_with_what_is(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "recommend", "a", "--must={bad")
    assert '--must: JSON such as {"genre": "Comedy"} is expected' in capsys.readouterr().err


def test_of_a_folder_it_is_said_which_checkpoint_is_read(checkpoint: Path, monkeypatch, capsys, tmp_path: Path):
    run(monkeypatch, "recommend", "a comedy", f"--checkpoint={checkpoint.parent}", f"--store={tmp_path / 'f.sqlite'}")
    assert f"{checkpoint} (films)" in capsys.readouterr().err


def test_whoever_has_read_enough_of_the_output_sees_no_error(checkpoint: Path, tmp_path: Path):
    source = tmp_path / "requests.jsonl"
    source.write_text('{"text": "a comedy", "k": 25}\n' * 200, encoding="utf-8")
    command = f"{sys.executable} -m recbole_instructrec.cli recommend --checkpoint={checkpoint} --requests={source}"
    command += f" --store={tmp_path / 'f.sqlite'} | head -c 20"
    done = subprocess.run(["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], capture_output=True, timeout=240)
    assert done.returncode == 141 and done.stdout.startswith(b'{"line": 1') and b"ipe" not in done.stderr


def test_a_pipe_into_the_real_program(checkpoint: Path, tmp_path: Path):
    command = [sys.executable, "-m", "recbole_instructrec.cli", "chat", f"--checkpoint={checkpoint}"]
    command += [f"--store={tmp_path / 'f.sqlite'}", "--user=u2", "--k=2"]
    done = subprocess.run(command, input="a comedy\nlike 1\n", capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (
        "> a comedy" in done.stdout and "Noted: you like Film number" in done.stdout and "Traceback" not in done.stderr
    )


def test_no_line_of_a_file_stops_the_others(recommender: Recommender, tmp_path: Path):
    source, output = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    source.write_text('{"text": "a comedy"}\n' + "[" * 100_000 + '\n{"text": "a\u2028drama"}\n', encoding="utf-8")
    assert answer_file(recommender, source, output, 3) == (2, 1)
