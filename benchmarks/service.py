"""A running service under load: throughput with and without batching, lost events, and ``kill -9``.

``--drill=load``: ``--clients`` clients at once for ``--seconds``, each asking (new texts) and reacting in turn, against
a service that answers in batches, and as long against one that answers one request at a time, in six parts by turns.
``--drill=kills``: ``--rounds`` services are killed at random moments under load; after each, every acknowledged
reaction must be in the store, that must open, and the version in use must be whole; in every second round somebody
comes, reacts and is forgotten, over and over. ``--drill=forget``: a user of a service that has learned is forgotten,
and every file of it (store, log, versions) is scanned for the name and words. ``--checkpoint`` is one of InstructRec.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import record, start, table
from benchmarks.latency import new_texts

#: Times that the load changes from one service to the other.
_SLICES = 6


class Service:
    """``instructrec serve`` in a process of its own.

    Parameters
    ----------
    checkpoint, store : path
        What is served.
    batch : int
        Requests answered at a time.
    threads : int
        Of torch.
    learn_every : int
        Reactions after which the model learns.
    log : Path, optional
        What the service prints.
    """

    def __init__(
        self, checkpoint: str, store: Path, batch: int, threads: int, learn_every: int = 0, log: Path | None = None
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "recbole_instructrec.cli", "serve", f"--checkpoint={checkpoint}"]
        command += [f"--store={store}", f"--port={self.port}", "--rate=0", f"--largest_batch={batch}"]
        command += [f"--threads={threads}", f"--learn_every={learn_every}"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with open(log or os.devnull, "wb") as stream:
            self.process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        until = time.monotonic() + 180
        while time.monotonic() < until:
            try:
                if self.call("GET", "/health")[0] == 200:
                    return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise SystemExit("the service did not start")

    def call(self, method: str, path: str, body: Any = None, connection: Any = None) -> tuple[int, Any]:
        """One request; status and what came back."""
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        own.request(method, path, None if body is None else json.dumps(body), headers)
        answer = own.getresponse()
        content = answer.read()
        if connection is None:
            own.close()
        return answer.status, json.loads(content) if content else None

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """As an operator would."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


class Talker(threading.Thread):
    """Talks to a service, and keeps what goes wrong.

    Parameters
    ----------
    service : Service
        Whom.
    texts : list of str
        What is said.
    stop : Event
        When to end.
    """

    def __init__(self, service: Service, texts: list[str], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._service, self._texts, self._ended = service, texts, stop
        self.wrong: list[str] = []

    def _called(self, method: str, path: str, body: Any = None, connection: Any = None) -> Any:
        """What came back; None, and noted, where the service refused."""
        status, content = self._service.call(method, path, body, connection)
        if status < 300:
            return content
        self.wrong.append(f"{method} {path}: {status} {content}")
        return None


class Client(Talker):
    """Asks and reacts in turn, until told to stop or the service is gone.

    Parameters
    ----------
    service, texts, stop
        As of :class:`Talker`.
    number : int
        Of the client: its user.
    """

    def __init__(self, service: Service, number: int, texts: list[str], stop: threading.Event) -> None:
        super().__init__(service, texts, stop)
        self._number = number
        self.acknowledged: list[int] = []
        self.counts: Counter[str] = Counter()
        self.waits: list[float] = []

    def run(self) -> None:
        """Talk."""
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=60)
        rng = random.Random(self._number)
        try:
            _, opened = self._service.call("POST", "/api/sessions", {"user": f"client {self._number}"}, connection)
            path = f"/api/sessions/{opened['session']}"
            for text in self._texts:
                if self._ended.is_set():
                    return
                begin = time.perf_counter()
                answer = self._counted("ask", path, {"text": text}, connection)
                self.waits.append(time.perf_counter() - begin)
                items = [item["id"] for item in answer["items"]] if answer else []
                if items and not self._ended.is_set():
                    reaction = {"item": rng.choice(items), "event": rng.choice(["click", "like", "dislike", "seen"])}
                    stored = self._counted("feedback", path, reaction, connection)
                    if stored:
                        self.acknowledged.append(stored["event"])
        except (OSError, http.client.HTTPException, ValueError):
            if not self._ended.is_set():
                self.wrong.append("the service is gone")

    def _counted(self, what: str, path: str, body: Any, connection: Any) -> Any:
        content = self._called("POST", f"{path}/{what}", body, connection)
        if content is not None and not self._ended.is_set():
            self.counts[what] += 1
        return content


class Passing(Talker):
    """Reacts a few times and is forgotten, over and over, until told to stop or the service is gone.

    Parameters
    ----------
    service, texts, stop
        As of :class:`Talker`.
    """

    def __init__(self, service: Service, texts: list[str], stop: threading.Event) -> None:
        super().__init__(service, texts, stop)
        self.forgotten = 0

    def run(self) -> None:
        """Come and go."""
        try:
            while not self._ended.is_set():
                path = f"/api/sessions/{self._called('POST', '/api/sessions', {'user': 'passing by'})['session']}"
                for text in self._texts[self.forgotten % 10 :: 10]:
                    answer = self._called("POST", f"{path}/ask", {"text": text})
                    self._called("POST", f"{path}/feedback", {"item": answer["items"][0]["id"], "event": "like"})
                erased = self._called("DELETE", "/api/users/passing%20by")
                if erased["traces"] or not erased["events"]:
                    self.wrong.append(f"forgotten with {erased['events']} events, traces {erased['traces']}")
                self.forgotten += 1
        except (OSError, http.client.HTTPException):
            return  # the service is gone
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if not self._ended.is_set():
                self.wrong.append(f"{type(error).__name__}: {error}")


def talk(service: Service, n: int, texts: list[str], seconds: float) -> tuple[list[Client], float]:
    """Clients at once for so long; they and the seconds that passed."""
    stop = threading.Event()
    each = len(texts) // n
    clients = [Client(service, number, texts[number * each : (number + 1) * each], stop) for number in range(n)]
    begin = time.perf_counter()
    for client in clients:
        client.start()
    time.sleep(seconds)
    stop.set()
    passed = time.perf_counter() - begin
    return clients, passed


def load(checkpoint: str, clients: int, seconds: int, threads: int, seed: int) -> None:
    """Throughput in batches and one at a time, in turn; nothing may be lost or go wrong."""
    from recbole_instructrec.live.store import FeedbackStore

    rows, found = [], {}
    texts = new_texts(clients * max(60, 8 * seconds), 5, 25, np.random.default_rng(seed))
    each = len(texts) // _SLICES
    talked: dict[str, list[Client]] = {"in batches": [], "one at a time": []}
    passed, kept = dict.fromkeys(talked, 0.0), {}
    with tempfile.TemporaryDirectory() as folder:
        stores = {name: Path(folder) / f"{name}.sqlite" for name in talked}
        services = {
            name: Service(checkpoint, stores[name], batch, threads) for name, batch in zip(talked, (32, 1), strict=True)
        }
        for part in range(_SLICES):  # in turn, so that a slower spell of the machine hits both
            for name, service in services.items():
                new = texts[each * part : each * (part + 1)]
                talkers, spent = talk(service, clients, new, seconds / _SLICES)
                for talker in talkers:
                    talker.join(60)
                talked[name] += talkers
                passed[name] += spent
        for name, service in services.items():
            service.stop()
            kept[name] = {event.id for event in FeedbackStore(stores[name]).events(reactions_only=True)}
    for name, talkers in talked.items():
        told = [number for talker in talkers for number in talker.acknowledged]
        asks = sum(talker.counts["ask"] for talker in talkers)
        waits = [wait for talker in talkers for wait in talker.waits]
        wrong = [fault for talker in talkers for fault in talker.wrong]
        found[name] = {
            "answers a second": round(asks / passed[name], 1),
            "requests a second": round(sum(sum(talker.counts.values()) for talker in talkers) / passed[name], 1),
            "waited, median ms": round(1000 * float(np.median(waits))),
            "waited, 99 % ms": round(1000 * float(np.percentile(waits, 99))),
            "reactions acknowledged": len(told),
            "of these in the store": len(kept[name] & set(told)),
            "in the store": len(kept[name]),
            "errors": len(wrong),
        }
        rows.append((name, *found[name].values()))
        for fault in wrong[:3]:
            print(fault)
    table(("", *next(iter(found.values()))), rows)
    ratio = found["in batches"]["answers a second"] / found["one at a time"]["answers a second"]
    print(f"batches answer {ratio:.2f} times as many (goal 3), load {os.getloadavg()[0]:.2f}")
    told_of = {"drill": "load", "clients": clients, "seconds": seconds, "service_threads": threads, "seed": seed}
    record("service", {**told_of, "found": found, "ratio": round(ratio, 3), "load": round(os.getloadavg()[0], 2)})


def kills(checkpoint: str, rounds: int, threads: int, seed: int) -> None:
    """Kill services at random moments; the next one goes on with the same store.

    In every second round a ninth user, beside the eight clients, reacts and is forgotten again and again: that must not
    lose what the others did (versions that learned from that user are dropped each time).
    """
    from recbole_instructrec.live.store import FeedbackStore
    from recbole_instructrec.live.versions import is_whole

    rng = random.Random(seed)
    texts = new_texts(450, 5, 25, np.random.default_rng(seed))  # the last of them nobody else says
    lost, acknowledged, learned, faults, broken = 0, 0, 0, list[str](), list[int]()
    forgotten = 0
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "feedback.sqlite"
        told: set[int] = set()
        for number in range(rounds):
            service = Service(checkpoint, store, 32, threads, learn_every=30)
            stop = threading.Event()
            clients = [Client(service, 8 * number + n, texts[50 * n : 50 * n + 50], stop) for n in range(8)]
            passing = Passing(service, texts[-50:], stop)
            talkers = [*clients, passing] if number % 2 else clients
            for client in talkers:
                client.start()
            time.sleep(rng.uniform(0.3, 12.0))  # learning takes some seconds: some die while they write a version
            stop.set()
            service.kill()
            for client in talkers:
                client.join(10)
            forgotten += passing.forgotten
            told |= {event for client in clients for event in client.acknowledged}
            faults += [fault for client in talkers for fault in client.wrong if "gone" not in fault]
            opened = FeedbackStore(store)
            kept = {event.id for event in opened.events(reactions_only=True)}
            lost = len(told - kept)
            version = opened.current
            broken += [one["id"] for one in opened.versions() if one["file"] and not is_whole(opened, one)]
            learned = max([learned, *(one["id"] for one in opened.versions())])
            opened.close()
            print(
                f"round {number + 1} of {rounds}: {len(told)} acknowledged, {lost} lost, version {version}", flush=True
            )
        acknowledged = len(told)
    print(
        f"{rounds} kills: {acknowledged} reactions acknowledged, {lost} lost; a ninth user forgotten {forgotten} times"
    )
    print(f"{learned} versions made, {len(broken)} not whole; {len(faults)} other faults {faults[:3]}")
    record(
        "service",
        {
            "drill": "kills",
            "rounds": rounds,
            "acknowledged": acknowledged,
            "lost": lost,
            "forgotten": forgotten,
            "versions": learned,
            "broken": len(broken),
            "faults": len(faults),
            "service_threads": threads,
            "seed": seed,
        },
    )


def forget(checkpoint: str, threads: int, seed: int) -> None:
    """Erase one of eight users, and look for traces byte by byte."""
    texts = new_texts(400, 8, 25, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        service = Service(checkpoint, Path(folder) / "feedback.sqlite", 32, threads, 30, Path(folder) / "service.log")
        talkers, _ = talk(service, 8, texts, 15)
        for talker in talkers:
            talker.join(60)
        while service.call("GET", "/api/versions")[1]["learning"]:
            time.sleep(0.5)
        versions = len(service.call("GET", "/api/versions")[1]["versions"]) - 1
        signs = ["client 3", *texts[150:200]]
        before = {file.name for file in Path(folder).rglob("*") if file.is_file() and _holds(file, signs)}
        status, erased = service.call("DELETE", "/api/users/client%203")
        left = [file.name for file in Path(folder).rglob("*") if file.is_file() and _holds(file, signs)]
        others = sum(
            file.read_bytes().count(b"client 4") for file in Path(folder).glob("feedback.sqlite*") if file.is_file()
        )
        service.stop()
    print(f"before: traces in {sorted(before)}; {versions} versions")
    print(
        f"forgotten ({status}): {erased['events']} events, versions {erased['versions']}; traces left: {left or 'none'}"
    )
    print(f"another user's name still stands {others} times")
    record(
        "service",
        {
            "drill": "forget",
            "events": erased["events"],
            "versions": versions,
            "dropped": erased["versions"],
            "traces_before": sorted(before),
            "traces": left,
            "service_threads": threads,
            "seed": seed,
        },
    )


def _holds(file: Path, signs: list[str]) -> bool:
    content = file.read_bytes()
    return any(sign.encode() in content for sign in signs)


def main() -> None:
    args = start(
        __doc__ or "", drill="load", checkpoint="saved", clients=32, seconds=60, rounds=50, service_threads=2, seed=2020
    )
    if args.drill == "load":
        load(args.checkpoint, args.clients, args.seconds, args.service_threads, args.seed)
    elif args.drill == "forget":
        forget(args.checkpoint, args.service_threads, args.seed)
    else:
        kills(args.checkpoint, args.rounds, args.service_threads, args.seed)


if __name__ == "__main__":
    main()
