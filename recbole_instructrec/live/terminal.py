"""``instructrec chat``: a conversation in a terminal, or through a pipe."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable
from typing import TextIO

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.events import UNDO
from recbole_instructrec.live.phrases import DEFAULT, Phrases, phrases
from recbole_instructrec.live.recommender import Recommender
from recbole_instructrec.live.session import Answer, Item, Session

_REACTION = re.compile(r"(click|like|dislike|seen|skip|undo)\s+(#?\d{1,6}(?:[\s,]+#?\d{1,6})*)", re.IGNORECASE)
_NO_NUMBER = re.compile(r"(click|like|dislike|seen|skip|why|rate)(?:\s+#?\d+)?", re.IGNORECASE)
_RATE = re.compile(r"rate\s+#?(\d{1,6})\s+(-?[\d.]+)", re.IGNORECASE)
_WHY = re.compile(r"why\s+#?(\d{1,6})", re.IGNORECASE)
_RULE = re.compile(r"(must_not|must)\s+(\S+?)\s*=\s*(.+)", re.IGNORECASE)
_RULES = re.compile(r"(must_not|must)(?:\s*([{\[].*)|\b(?=\s*$|\s.*=))", re.IGNORECASE | re.DOTALL)
_BOUNDS = re.compile(r"(-?[\d.]*)\.\.(-?[\d.]*)")


_HISTORY = 20  # items that are shown


class Chat:
    """One conversation, line by line.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    user : str, optional
        Who talks.
    k : int
        Length of a list.
    out : file
        Where to write.
    width : int
        Columns of the terminal.
    """

    def __init__(
        self, recommender: Recommender, user: str | None = None, k: int = 5, out: TextIO = sys.stdout, width: int = 100
    ) -> None:
        self._recommender, self._k, self._out, self._width = recommender, k, out, width
        self._session: Session = recommender.session(user)
        self._answer: Answer | None = None
        self._must: dict[str, object] = {}
        self._must_not: dict[str, object] = {}
        self._variety = 0.0
        self._language = DEFAULT

    @property
    def _phrases(self) -> Phrases:
        """Those of the language that was spoken last."""
        return phrases(self._language)

    def _tell(self, kind: str, **values: object) -> None:
        self._say(self._phrases.chat(kind, **values))

    def greet(self) -> None:
        """Say who is there and what to do."""
        about = self._recommender.about()
        self._tell("greeting", n=f"{about['items']:,}", dataset=about["dataset"], user=self._session.user)

    def line(self, text: str) -> bool:
        """Take one line; False when the conversation is over."""
        text = text.strip()
        command = text.lower()
        if command in ("quit", "exit", "bye", "再见"):
            return False
        try:
            self._take(text, command)
        except LiveError as error:
            self._say(f"! {error}")
        return True

    def _take(self, text: str, command: str) -> None:
        commands: dict[str, Callable[[], None]] = {
            "help": lambda: self._tell("help", high=self._recommender.rating_scale[1]),
            "history": self._history,
            "learn": self._learn,
            "rules": self._rules,
            "rules off": self._no_rules,
            "undo": self._undo,
        }
        if command in commands:
            commands[command]()
        elif match := _REACTION.fullmatch(text):
            self._react([int(place) for place in re.findall(r"\d+", match[2])], match[1].lower())
        elif match := _RATE.fullmatch(text):
            self._react([int(match[1])], "rating", _number(match[2], "rating"))
        elif match := _WHY.fullmatch(text):
            item = self._item(int(match[1]))
            self._say(f"{item.title}: {item.reasons.sentence if item.reasons else ''}")
        elif match := _NO_NUMBER.fullmatch(text):
            raise LiveError(self._phrases.chat("which_number", command=match[1].lower()))
        elif match := _RULE.fullmatch(text):
            self._rule(match[1].lower(), {match[2]: _condition(match[3])})
        elif match := _RULES.match(text):
            self._rule(match[1].lower(), _conditions(match[2], match[1].lower()))
        elif command.startswith("/"):
            raise LiveError(self._phrases.chat("no_command", command=text.split()[0][:40]))
        elif command.startswith("variety "):
            variety = _number(command.split(None, 1)[1], "variety")
            if not 0.0 <= variety <= 1.0:
                raise LiveError(f"variety: a number from 0 to 1 is expected, not {variety:g}.")
            self._variety = variety
            self._again()
        elif command.startswith("user "):
            self._session = self._recommender.session(text.split(None, 1)[1])
            self._tell("user", user=self._session.user, n=self._session.n_taken)
            self._answer = None
        else:
            self._ask(text)

    def _ask(self, text: str | None) -> None:
        self._answer = self._session.ask(
            text, self._k, must=self._must, must_not=self._must_not, diversity=self._variety
        )
        self._language = self._answer.language
        self._show(self._answer)

    def _again(self) -> None:
        """The same request, after a rule or a reaction."""
        self._ask(None)

    def _rule(self, kind: str, conditions: dict[str, object]) -> None:
        must, must_not = dict(self._must), dict(self._must_not)
        (must if kind == "must" else must_not).update(conditions)
        self._recommender.rules.allowed(must, must_not)  # refused before anything changes
        self._must, self._must_not = must, must_not
        self._again()

    def _react(self, places: list[int], event: str, rating: float | None = None) -> None:
        for item in [self._item(place) for place in dict.fromkeys(places)]:  # all of this list
            try:
                self._session.feedback(item.id, event, rating)
            except LiveError as error:
                if len(places) == 1:
                    raise
                self._say(f"! {error}")
                continue
            if event == UNDO:
                self._say(self._phrases.note(UNDO, title=item.title))
            else:
                self._tell(event, title=item.title, rating=f"{rating:g}" if rating is not None else "")
        self._again()

    def _undo(self) -> None:
        catalogue = self._recommender.catalogue
        self._say(self._phrases.note(UNDO, title=catalogue.titles[catalogue.item(self._session.undo())]))
        self._again()

    def _item(self, place: int) -> Item:
        if self._answer is None or not 1 <= place <= len(self._answer):
            kind, n = ("no_number", len(self._answer)) if self._answer is not None else ("no_list", 0)
            raise LiveError(self._phrases.chat(kind, place=place, n=n))
        return self._answer.items[place - 1]

    def _show(self, answer: Answer) -> None:
        show(answer, self._out, self._width)

    def _history(self) -> None:
        for one in self._session.history(_HISTORY):
            self._say(f"  {one['title']}")
        n = self._session.n_taken
        if n > _HISTORY:
            self._tell("history_more", n=n - _HISTORY)
        if not n:
            self._tell("history_none")

    def _learn(self) -> None:
        self._say(str(self._recommender.learn()["note"]))

    def _rules(self) -> None:
        told = [f"must {name}={value}" for name, value in self._must.items()]
        told += [f"must_not {name}={value}" for name, value in self._must_not.items()]
        self._say("; ".join(told) or self._phrases.chat("no_rules"))

    def _no_rules(self) -> None:
        held = bool(self._must or self._must_not)
        self._must, self._must_not = {}, {}
        self._tell("rules_off")
        if held and self._answer is not None:
            self._again()

    def _say(self, text: str) -> None:
        _say(text, self._out, self._width)


def show(answer: Answer, out: TextIO, width: int) -> None:
    """Write an answer for people.

    Parameters
    ----------
    answer : Answer
        What to show.
    out : file
        Where to.
    width : int
        Columns.
    """
    say = phrases(answer.language)
    if answer.note:
        _say(answer.note, out, width)
    if answer.understood:
        names = [(one["sign"], say.attribute(one["attribute"])) for one in answer.understood]
        heard = [say.chat("not", name=name) if sign == "avoid" else name for sign, name in names]
        degree = say.chat(answer.degree) if answer.degree in ("little", "only") else ""
        _say(say.chat("understood", heard=say.chat("comma").join(heard), degree=degree), out, width)
    elif answer.heard:
        _say(say.chat("nothing_understood"), out, width)
    for place, item in enumerate(answer, 1):
        called = say.chat("comma").join(map(say.attribute, item.attributes))
        attributes = f"  [{called}]" if called else ""
        _say(f"{place:3}. {item.title}{attributes}", out, width)
        if item.reasons:
            _say(item.reasons.sentence, out, width, indent=5)
    if not answer.items:
        _say(say.chat("nothing_left"), out, width)


def _say(text: str, out: TextIO, width: int, indent: int = 0) -> None:
    pad = " " * indent
    for line in text.splitlines():
        wrapped = [pad + line]
        if len(wrapped[0]) > width:
            wrapped = textwrap.wrap(line, width, initial_indent=pad, subsequent_indent=pad + "  ")
        print("\n".join(wrapped), file=out, flush=True)


def _condition(text: str) -> object:
    """A condition as it is typed: a value, values with commas, or bounds such as 1990..1999."""
    if match := _BOUNDS.fullmatch(text.strip()):
        bounds = {name: value for name, value in zip(("min", "max"), match.groups(), strict=True) if value}
        try:
            return {name: float(value) for name, value in bounds.items()}
        except ValueError:
            raise LiveError(f"{text}: bounds are written 1990..1999, 1990.. or ..1999.") from None
    values = [value.strip() for value in text.split(",") if value.strip()]
    return values[0] if len(values) == 1 else values


def _conditions(text: str | None, kind: str) -> dict[str, object]:
    """Conditions as the API takes them: {"genre": "Comedy"}."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise LiveError(f'{kind}: write {kind} COLUMN=VALUE, or {kind} {{"COLUMN": "VALUE"}}.')
    return found


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LiveError(f"{what}: a number is expected, not {text!r:.40}.") from None


def chat(recommender: Recommender, user: str | None, k: int, source: TextIO, out: TextIO, width: int) -> int:
    """Talk until the lines end.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    user : str or None
        Who talks.
    k : int
        Length of a list.
    source, out : file
        Where lines come from and answers go to; prompts are shown where both are terminals.
    width : int
        Columns.

    Returns
    -------
    int
        0.
    """
    talk = Chat(recommender, user, k, out, width)
    prompt = source.isatty() and out.isatty()
    if prompt:
        import readline  # noqa: F401  (arrow keys and history of lines)
    recommender.warm_up()
    talk.greet()
    while True:
        try:
            line = input("> ") if prompt else source.readline()
        except (EOFError, KeyboardInterrupt):
            print(file=out)
            return 0
        if not prompt:
            if not line:
                return 0
            print(f"> {line.rstrip()}", file=out)
        if not talk.line(line):
            return 0
