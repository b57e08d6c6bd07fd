"""The JSON API: what it answers, what it refuses, and that it goes on answering."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from recbole_instructrec.live import LiveError, Recommender, StoreError

pytest.importorskip("fastapi", reason="needs the extra serve: pip install -c constraints.txt -e '.[serve]'")
pytest.importorskip("httpx", reason="needs httpx")

from fastapi.testclient import TestClient

from recbole_instructrec.live.serve.app import create_app
from recbole_instructrec.live.serve.batcher import Batcher, _Job
from recbole_instructrec.live.serve.guard import Limits
from recbole_instructrec.live.serve.run import is_loopback, serve


@pytest.fixture
def client(recommender: Recommender) -> Iterator[TestClient]:
    with TestClient(create_app(recommender, limits=Limits(rate=0)), raise_server_exceptions=False) as client:
        yield client


def begun(client: TestClient, user: str | None = "u1") -> str:
    answer = client.post("/api/sessions", json={} if user is None else {"user": user})
    assert answer.status_code == 201
    return f"/api/sessions/{answer.json()['session']}"


def test_a_conversation(client: TestClient, recommender: Recommender):
    session = begun(client)
    first = client.post(f"{session}/ask", json={"text": "a comedy, no horror", "k": 4}).json()
    assert len(first["items"]) == 4 and first["event"] == 1
    assert {(one["attribute"], one["sign"]) for one in first["understood"]} == {("Comedy", "want"), ("Horror", "avoid")}
    assert all(item["reasons"]["sentence"] for item in first["items"])
    item = first["items"][0]["id"]
    assert client.post(f"{session}/feedback", json={"item": item, "event": "like"}).json() == {"event": 2}
    assert client.get(f"{session}/history").json()[0]["id"] == item
    [reacted] = client.get(f"{session}/reactions").json()
    assert reacted["id"] == item and reacted["reactions"] == [{"event": "like", "rating": None}]
    again = client.post(f"{session}/ask", json={"text": None, "k": 4, "hide_seen": True}).json()
    assert again["heard"] == first["heard"] and item not in [one["id"] for one in again["items"]]
    without = client.post(f"{session}/ask", json={"text": None, "without": ["Horror"]}).json()
    assert [one["attribute"] for one in without["understood"]] == ["Comedy"]
    assert [event.kind for event in recommender.store.events()] == ["ask", "like", "ask", "ask"]


def test_what_is_served_and_whether_it_answers(client: TestClient):
    assert client.get("/health").json()["status"] == "ok"
    about = client.get("/api/about").json()
    assert about["dataset"] == "films" and about["items"] == 25 and "Comedy" in about["attributes"]


def test_a_guest_has_no_history_and_a_new_user_is_not_known(client: TestClient):
    guest = client.post("/api/sessions", json={}).json()
    assert guest["user"].startswith("guest-") and not guest["known"] and guest["history"] == []
    assert client.post("/api/sessions", json={"user": "u1"}).json()["known"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("ask", {"text": 5}, 422, "text"),
        ("ask", {"text": "a", "k": 0}, 422, "k"),
        ("ask", {"txt": "a"}, 422, "txt"),
        ("ask", {"must": {"gender": "Comedy"}}, 422, "genre"),
        ("ask", {"must": {"genre": {"min": "x"}}}, 422, "genre"),
        ("ask", {"diversity": 2}, 422, "diversity"),
        ("feedback", {"item": "i99", "event": "click"}, 404, "no item"),
        ("feedback", {"item": "i1", "event": "adore"}, 422, "event"),
        ("feedback", {"item": "i1", "event": "rating", "rating": 6}, 422, "1 to 5"),
        ("feedback", {"item": "i1", "event": "rating"}, 422, "1 to 5"),
        ("feedback", {"item": "i1", "event": "click", "rating": 3}, 422, "rating"),
        ("feedback", {"item": 1, "event": "click"}, 422, "item"),
        ("feedback", {"item": "i1", "event": "undo"}, 422, "undo: u1 has not reacted to Film number 1 (item i1)"),
        ("feedback", [], 422, "body"),
    ],
)
def test_what_cannot_be_is_refused_in_words(client: TestClient, path: str, body: Any, status: int, words: str):
    session = begun(client)
    answer = client.post(f"{session}/{path}", json=body)
    assert answer.status_code == status and words in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert client.post(f"{session}/ask", json={"text": "a comedy"}).status_code == 200  # and it goes on


def test_malformed_bodies_and_unknown_places(client: TestClient):
    session = begun(client)
    broken = client.post(f"{session}/ask", content=b'{"text": "a', headers={"content-type": "application/json"})
    assert broken.status_code == 400 and re.match(r"the body is no JSON: .+ at character 9\.$", broken.json()["error"])
    assert client.post("/api/sessions/nobody/ask", json={"text": "a"}).status_code == 404
    assert client.get("/api/nothing").json() == {"error": "Not Found"}
    assert client.put("/api/about").status_code == 405
    for name in ("", " ", "a\x00b", "x" * 201, "\u202e\x07"):
        refused = client.post("/api/sessions", json={"user": name})
        assert refused.status_code == 422 and "user" in refused.json()["error"], name


def test_too_large_a_request_is_refused_before_it_is_read(client: TestClient):
    session = begun(client)
    answer = client.post(f"{session}/ask", json={"text": "a" * 1_000_000})
    assert answer.status_code == 413 and "bytes" in answer.json()["error"]

    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 1000

    streamed = client.post(f"{session}/ask", content=chunks(), headers={"content-type": "application/json"})
    assert streamed.status_code == 413
    assert client.post(f"{session}/ask", json={"text": "a" * 10_000}).status_code == 200


def test_too_many_requests_wait(recommender: Recommender):
    with TestClient(create_app(recommender, limits=Limits(rate=0.001, burst=3))) as client:
        codes = [client.get("/health").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]


def test_a_token_is_asked_for(recommender: Recommender):
    with TestClient(create_app(recommender, token="0123456789abcdef")) as client:
        assert client.get("/").status_code == 200 and client.get("/health").status_code == 200
        assert client.get("/api/about").status_code == 401
        assert client.get("/docs").status_code == 401
        assert client.get("/api/about", headers={"Authorization": "Bearer 0123456789abcdeX"}).status_code == 401
        assert client.get("/api/about", headers={"Authorization": "Bearer 0123456789abcdef"}).status_code == 200


def test_other_hosts_names_are_refused(recommender: Recommender):
    with TestClient(create_app(recommender, hosts={"localhost"}), base_url="http://localhost:8000") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 403


def test_headers_keep_scripts_of_others_out(client: TestClient):
    for path in ("/", "/api/about", "/nothing"):
        assert client.get(path).headers["content-security-policy"].startswith("default-src 'self'")
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_hostile_texts_come_back_as_texts(client: TestClient, recommender: Recommender):
    hostile = [
        "<script>alert(1)</script> a comedy",
        "'; DROP TABLE events; --",
        '{"text": "a"}',
        "a\x00b \x1b[31m",
        "{{7*7}}",
    ]
    session = begun(client, "<img src=x onerror=alert(1)>")
    for text in hostile:
        answer = client.post(f"{session}/ask", json={"text": text})
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
        assert len(answer.json()["items"]) == 10
    assert recommender.store.count() == len(hostile)
    assert recommender.store.events()[0].user == "<img src=x onerror=alert(1)>"


def test_a_full_disk_is_told_and_the_service_goes_on(client: TestClient, recommender: Recommender):
    session = begun(client)
    connection = recommender.store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    codes = [client.post(f"{session}/ask", json={"text": "a comedy " * 400}).status_code for _ in range(30)]
    assert 507 in codes
    before = recommender.store.count()
    answer = client.post(f"{session}/feedback", json={"item": "i1", "event": "click"})
    if answer.status_code == 507:
        assert "disk is full" in answer.json()["error"] and recommender.store.count() == before
    connection.execute("PRAGMA max_page_count=1000000")
    assert client.post(f"{session}/ask", json={"text": "a comedy"}).status_code == 200


def test_versions_learn_and_undo(client: TestClient, recommender: Recommender):
    session = begun(client)
    assert client.get("/api/versions").json()["versions"] == [
        {"id": 0, "parent": None, "time": None, "status": "kept", "current": True, "about": {}}
    ]
    for item in range(1, 24):
        client.post(f"{session}/feedback", json={"item": f"i{item}", "event": "click"})
    assert client.post("/api/learn").json() == {"started": True}
    for _ in range(200):
        told = client.get("/api/versions").json()
        if not told["learning"] and told["last"]:
            break
        threading.Event().wait(0.05)
    assert len(told["versions"]) == 2 and "events" not in told["versions"][1]["about"]
    assert client.post("/api/versions/0/use").json()["current"]
    assert client.post("/api/versions/9/use").status_code == 404


def test_a_user_is_forgotten(client: TestClient, recommender: Recommender):
    session = begun(client, "somebody/with a slash")
    client.post(f"{session}/ask", json={"text": "a comedy about beekeepers"})
    erased = client.delete("/api/users/somebody%2Fwith a slash").json()
    assert erased == {"events": 1, "versions": [], "traces": [], "in_dataset": 0}
    assert client.post(f"{session}/ask", json={"text": "a"}).status_code == 404  # the session has ended


def test_simultaneous_requests_are_answered_together_each_to_its_own(recommender: Recommender):
    sizes: list[int] = []
    answer = recommender.answer

    def counted(requests: Any) -> Any:
        sizes.append(len(requests))
        return answer(requests)

    recommender.answer = counted  # type: ignore[method-assign]
    batcher = Batcher(recommender, 16)
    sessions = [recommender.session(f"u{n}") for n in range(8)]
    alone = [recommender.session(f"u{n}").ask("a drama", 5, reasons=False).items for n in range(8)]
    sizes.clear()
    with recommender.working:  # nothing is answered until all have asked
        futures = [batcher.ask(session, {"text": "a drama", "k": 5, "reasons": False}) for session in sessions]
        wrong = batcher.ask(sessions[0], {"text": "a drama", "k": 0})
        reaction = batcher.feedback(sessions[1], {"item": "i1", "event": "like", "rating": None})
    got = [future.result(30).items for future in futures]
    assert [[item.id for item in one] for one in got] == [[item.id for item in one] for one in alone]
    with pytest.raises(LiveError):
        wrong.result(30)
    assert reaction.result(30) in {event.id for event in recommender.store.events(reactions_only=True)}
    assert max(sizes) >= 7
    batcher.close()


def test_a_reaction_waits_for_its_own_conversation_and_for_no_other(recommender: Recommender):
    batcher = Batcher(recommender, 16)
    one, other = recommender.session("u1"), recommender.session("u2")
    with recommender.working:  # nothing is answered
        first = batcher.ask(one, {"text": "a drama", "k": 3})
        own = batcher.feedback(one, {"item": "i1", "event": "dislike", "rating": None})
        second = batcher.ask(one, {"text": "a drama", "k": 30})
        assert batcher.feedback(other, {"item": "i2", "event": "like", "rating": None}).result(30) == 1
        assert not own.done() and not second.done()
    assert first.result(30).event < own.result(30) < second.result(30).event
    assert "i1" not in {item.id for item in second.result(30)}, "what was disliked before is not in the list"
    late = batcher.ask(one, {"text": "a comedy", "k": 3})
    batcher.close()
    assert len(late.result(0)) == 3, "what has come is finished"
    with pytest.raises(LiveError, match="stopping"):
        batcher.ask(one, {"text": "a comedy"})
    assert not batcher._last


def test_who_has_gone_changes_no_order_and_leaves_nobody_waiting(recommender: Recommender):
    batcher = Batcher(recommender, 16)
    one = recommender.session("u1")
    with recommender.working:
        first = batcher.ask(one, {"text": "a drama", "k": 3})
        gone = batcher.ask(one, {"text": "a comedy", "k": 3})
        own = batcher.feedback(one, {"item": "i1", "event": "dislike", "rating": None})
        last = batcher.ask(one, {"text": "a drama", "k": 3})
        assert gone.cancel()
        time.sleep(0.2)
        assert not own.done() and recommender.store.count() == 0
    assert first.result(30).event < own.result(30) < last.result(30).event
    with recommender.working:
        first = batcher.ask(one, {"text": "a drama", "k": 3})
        waits = batcher.ask(one, {"text": "a comedy", "k": 3})
        assert batcher.ask(one, {"text": "a drama", "k": 3}).cancel()
        closing = threading.Thread(target=batcher.close)
        closing.start()
        time.sleep(0.2)
        assert closing.is_alive()
    closing.join(60)
    assert len(waits.result(0)) == 3 and not batcher._last
    batcher._asks.put(late := _Job(one, {}))
    with pytest.raises(LiveError, match="stopped"):
        late.result.result(0)


def test_a_batch_that_fails_does_not_stop_the_next(recommender: Recommender, monkeypatch: pytest.MonkeyPatch):
    batcher = Batcher(recommender)
    session = recommender.session("u1")

    def fails(events: Any) -> Any:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(recommender.store, "append", fails)
        with pytest.raises(StoreError):
            batcher.ask(session, {"text": "a"}).result(30)
    with monkeypatch.context() as patch:
        patch.setattr(recommender, "_ranker", lambda wants: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            batcher.ask(session, {"text": "a"}).result(30)
    assert len(batcher.ask(session, {"text": "a"}).result(30)) == 10
    batcher.close()


def test_an_address_that_others_reach_needs_a_token(recommender: Recommender):
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")
    with pytest.raises(LiveError, match="a token is needed"):
        serve(recommender, "0.0.0.0", 8000, None, [], 20.0)
    with pytest.raises(LiveError, match="at least 16"):
        serve(recommender, "0.0.0.0", 8000, "short", [], 20.0)


def test_the_api_keeps_its_own_description_whatever_is_sent(recommender: Recommender):
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    from hypothesis import HealthCheck, Phase, settings

    app = create_app(recommender, limits=Limits(rate=0))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    session = app.state.service.open("u1").name
    called: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/learn"):
            continue  # learns for seconds each time

        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @_given(operation)
        def one(case: Any) -> None:
            if "session" in (case.path_parameters or {}):
                case.path_parameters["session"] = session
            response = case.call()
            called.add(f"{case.method} {case.path} {response.status_code}")
            assert response.status_code < 500 or response.status_code == 507, response.text
            content = json.loads(response.content) if response.content else None
            if response.status_code >= 400 and case.method != "HEAD":
                assert isinstance(content, dict) and content["error"]

        one()
    assert {line.rsplit(" ", 1)[0] for line in called} >= {
        "POST /api/sessions",
        "POST /api/sessions/{session}/ask",
        "POST /api/sessions/{session}/feedback",
        "DELETE /api/users/{user}",
    }
    assert any(line.endswith(" 200") for line in called) and any(line.endswith(" 422") for line in called)


def _given(operation: Any) -> Any:
    """Cases of one operation, as hypothesis hands them over."""
    from hypothesis import given

    return given(case=operation.as_strategy())


def test_pages_of_others_change_nothing(client: TestClient):
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert client.post("/api/versions/0/use", headers=headers).status_code == 403
        assert client.get("/api/about", headers=headers).status_code == 200
    here = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/versions/0/use", headers=here).status_code == 200


def test_a_request_that_breaks_breaks_no_other(recommender: Recommender):
    batcher = Batcher(recommender, 16)
    sessions = [recommender.session(f"u{n}") for n in range(4)]
    sessions[1].prepare = lambda **call: {}["nothing"]  # type: ignore[method-assign]
    with recommender.working:
        futures = [batcher.ask(session, {"text": "a drama", "k": 3}) for session in sessions]
        futures[2].cancel()
    assert len(futures[0].result(30)) == len(futures[3].result(30)) == 3
    with pytest.raises(KeyError):
        futures[1].result(30)
    batcher.close()
