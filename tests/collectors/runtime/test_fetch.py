"""REST: every reply is delivered, budgets and bans are obeyed, alone and together with other processes."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from tape_archive.format.errors import LocalError
from tape_collectors.runtime import fetch as module
from tape_collectors.runtime.budget import MARGIN, SharedBudget, budgets
from tape_collectors.runtime.fetch import Fetcher, Host
from tape_collectors.venues.protocol import Fetch, Limits
from tests.support.servers import Book, rest, until


class Script:
    """Answers in turn; the last one for ever. Writes down when what was asked."""

    def __init__(self, *answers: web.Response) -> None:
        self.answers = list(answers) or [web.json_response({"ok": 1})]
        self.asked: list[tuple[float, str, str]] = []
        self.at_once = self.most = 0
        self.pause = 0.0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        body = await request.text()
        self.asked.append((time.monotonic(), f"{request.method} {request.path_qs}", body))
        if self.pause:
            await asyncio.sleep(self.pause)
        self.at_once -= 1
        one = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(body=one.body, status=one.status, headers=one.headers)


@asynccontextmanager
async def running(script: Script, limits: Limits | None = None, **settings: object) -> AsyncIterator[tuple[Fetcher, Book]]:
    """A fetcher at work."""
    async with rest(script) as root:
        limits_of = {"rest": limits} if limits else {}
        fetcher = Fetcher({"rest": root}, limits_of, cap_s=0.05, chance=random.Random(2), **settings)  # type: ignore[arg-type]
        task = asyncio.create_task(fetcher.run())
        try:
            yield fetcher, Book()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_replies_and_failures_are_delivered_until_one_serves() -> None:
    script = Script(web.Response(status=503, text="away"), web.Response(status=400, text="bad"), web.json_response({"a": 1}))
    async with running(script) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /depth?symbol=X"))
        await until(lambda: len(book.replies) == 3)
    assert [(request, status) for request, status, _ in book.replies] == [("GET /depth?symbol=X", status) for status in (503, 400, 200)]
    assert book.replies[2][2] == b'{"a": 1}' and fetcher.failures == 2


async def test_retries_are_counted_and_a_dead_host_is_status_0() -> None:
    script = Script(web.Response(status=500))
    async with running(script) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /x", retries=2))
        await until(lambda: len(book.replies) == 3)
        fetcher.hosts["rest"].root = "http://127.0.0.1:9"
        fetcher.fetch(book, Fetch("GET /y", retries=0))
        await until(lambda: len(book.replies) == 4)
        await asyncio.sleep(0.2)
    assert len(script.asked) == 3 and book.replies[3][:2] == ("GET /y", 0) and b"Error" in book.replies[3][2] and len(book.replies) == 4


async def test_a_host_that_does_not_answer_is_given_up_in_time() -> None:
    script = Script()
    script.pause = 5.0
    async with running(script, timeout_s=0.1) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /x", retries=0))
        await until(lambda: book.replies, 2)
    assert book.replies[0][1] == 0 and b"TimeoutError" in book.replies[0][2]


async def test_bodies_are_posted() -> None:
    script = Script()
    async with running(script) as (fetcher, book):
        fetcher.fetch(book, Fetch('POST /books [{"token_id":"1 2"}]'))
        await until(lambda: book.replies)
    assert script.asked[0][1:] == ("POST /books", '[{"token_id":"1 2"}]') and book.replies[0][0] == 'POST /books [{"token_id":"1 2"}]'


@pytest.mark.parametrize("status", [429, 418, 403])
async def test_retry_after_is_obeyed_by_all_requests_and_said_once(status: int, caplog: pytest.LogCaptureFixture) -> None:
    script = Script(web.Response(status=status, headers={"Retry-After": "1"}), web.json_response({}))
    async with running(script) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /first"))
        await until(lambda: book.replies)
        for n in range(5):
            fetcher.fetch(book, Fetch(f"GET /{n}"))
        await until(lambda: len(book.replies) == 7)
    assert script.asked[1][0] - script.asked[0][0] >= 0.99, "nobody asked before"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["host is left alone"]


async def test_a_date_in_retry_after_and_the_venues_own_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    later = formatdate(time.time() + 3, usegmt=True)
    async with running(Script(web.Response(status=503, headers={"Retry-After": later}))) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /x"))
        await until(lambda: book.replies)
        await until(lambda: fetcher.hosts["rest"].eta_s() > 1.0)
    for status, seconds in ((429, 10), (418, 120), (403, 30)):
        async with running(Script(web.Response(status=status))) as (fetcher, book):
            fetcher.fetch(book, Fetch("GET /x"))
            await until(lambda: book.replies)
            assert seconds - 2 < fetcher.eta_s() <= seconds


async def test_a_page_for_people_is_no_reply_and_refusals_grow() -> None:
    page = web.Response(status=200, text="<html>Blocked!</html>", content_type="text/html")
    async with running(Script(page)) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /x"))
        await until(lambda: book.replies)
        assert book.replies[0][1:] == (403, b"<html>Blocked!</html>") and fetcher.eta_s() > 25
    host = Host("http://x", Limits(100, 1.0))
    blocked = []
    for _ in range(8):
        blocked.append(host.refused(403, 0.0))
        host.budget.blocked_until = 0.0
    assert blocked == [30, 60, 120, 240, 480, 600, 600, 600]


async def test_the_budget_is_kept_and_the_venues_count_believed() -> None:
    script = Script()
    async with running(script, Limits(10, 0.5, "X-Used")) as (fetcher, book):
        for n in range(14):
            fetcher.fetch(book, Fetch(f"GET /{n}", weight=2))
        assert fetcher.eta_s() == 1.5, "28 of weight at 9 in half a second"
        await until(lambda: len(book.replies) == 14)
    times = [at for at, _, _ in script.asked]
    # Four of weight 2 in any half second (9 of 10 are ours); the server sees them a little apart.
    assert all(times[n + 4] - times[n] > 0.45 for n in range(10))
    script = Script(web.json_response({}, headers={"X-Used": "9"}), web.json_response({}))
    async with running(script, Limits(10, 0.5, "X-Used")) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /a"))
        await until(lambda: book.replies)
        fetcher.fetch(book, Fetch("GET /b"))
        await until(lambda: len(book.replies) == 2)
    assert script.asked[1][0] - script.asked[0][0] > 0.45, "somebody else on this address used the rest"


async def test_first_attempts_go_before_repeated_ones_and_few_at_once() -> None:
    script = Script(web.Response(status=500), web.json_response({}))
    async with running(script, Limits(1, 0.15)) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /fails"))
        await until(lambda: book.replies)
        for n in range(3):
            fetcher.fetch(book, Fetch(f"GET /{n}"))
        await until(lambda: len(book.replies) == 5)
    # The repeated one may already hold the place when the others come; it is not asked again before a first attempt otherwise.
    assert [request for _, request, _ in script.asked][2:] == ["GET /1", "GET /2", "GET /fails"]
    script = Script()
    script.pause = 0.05
    async with running(script) as (fetcher, book):
        for n in range(12):
            fetcher.fetch(book, Fetch(f"GET /{n}"))
        await until(lambda: len(book.replies) == 12)
    assert script.most == 4 and [request for _, request, _ in script.asked] == [f"GET /{n}" for n in range(12)]


async def test_a_delayed_request_holds_up_nobody() -> None:
    script = Script()
    async with running(script) as (fetcher, book):
        for n in range(8):
            fetcher.fetch(book, Fetch(f"GET /late{n}", delay_s=0.4))
        fetcher.fetch(book, Fetch("GET /now"))
        begun = time.monotonic()
        await until(lambda: book.replies)
        assert book.replies[0][0] == "GET /now" and time.monotonic() - begun < 0.3
        await until(lambda: len(book.replies) == 9)
    assert script.asked[1][0] - begun >= 0.38


async def test_a_full_queue_is_said_on_the_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 3)
    fetcher, book = Fetcher({"rest": "http://127.0.0.1:9"}, {}), Book()
    for n in range(5):
        fetcher.fetch(book, Fetch(f"GET /{n}"))
    assert book.replies == [("GET /3", 0, b"the queue is full"), ("GET /4", 0, b"the queue is full")] and len(fetcher.hosts["rest"]) == 3
    with pytest.raises(LocalError, match="hosts: rest"):
        fetcher.fetch(book, Fetch("GET /x", host="nowhere"))


async def test_a_body_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 100_000)
    async with running(Script(web.Response(body=b"x" * 1_000_000))) as (fetcher, book):
        fetcher.fetch(book, Fetch("GET /x", retries=0))
        await until(lambda: book.replies)
    assert book.replies[0][1:] == (0, b"a body of more than 100000 bytes")


async def test_what_was_asked_outlives_a_restart_of_the_part() -> None:
    script = Script()
    script.pause = 0.2
    async with rest(script) as root:
        fetcher, book = Fetcher({"rest": root}, {"rest": Limits(2, 0.3)}), Book()
        for n in range(4):
            fetcher.fetch(book, Fetch(f"GET /{n}"))
        for _ in range(2):
            task = asyncio.create_task(fetcher.run())
            if not script.asked:
                await until(lambda: script.asked)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                script.pause = 0.0
        await until(lambda: len(book.replies) == 4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {request for request, _, _ in book.replies} == {f"GET /{n}" for n in range(4)}


# -- one budget for the processes of a machine ------------------------------------------------------------------------------


def _use(path: str, together: threading.Barrier, each: int, out: multiprocessing.Queue[list[float]]) -> None:
    budget, taken = SharedBudget(Limits(40, 0.6), Path(path)), []
    together.wait(120)
    while len(taken) < each:
        now = time.time()
        if wait := budget.reserve(now, 2):
            time.sleep(min(wait, 0.01))
        else:
            taken.append(now)
    out.put(taken)


def test_processes_together_keep_one_budget(tmp_path: Path) -> None:
    """However they come to run, no 0.6 s have more than the budget in them."""
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.Queue[list[float]] = context.Queue()
    together = context.Barrier(3)
    children = [context.Process(target=_use, args=(str(tmp_path / "b.json"), together, 40, out)) for _ in range(3)]
    for child in children:
        child.start()
    every = sorted(at for _ in children for at in out.get(timeout=120))
    for child in children:
        child.join(20)
    assert all(sum(2 for other in every if at - 0.6 < other <= at) <= 40 * MARGIN for at in every) and len(every) == 120


def test_programs_of_a_host_share_a_file_whatever_their_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    one, two = (budgets(tmp_path / name / "state") for name in ("a", "b"))
    venue, here = "https://fapi.binance.com", "http://127.0.0.1:8080"
    assert one.file(venue, "rest") == two.file(venue, "rest") == tmp_path / "home" / "tapeline" / "budgets" / "rest-fapi.binance.com.json"
    assert one.file(venue, "funding") != one.file(venue, "rest")
    # What is asked of this machine is asked by nobody else.
    assert one.file(here, "rest").parent == tmp_path / "a" / "state" and two.file(here, "rest").parent == tmp_path / "b" / "state"
    chosen = budgets(tmp_path / "a" / "state", str(tmp_path / "c"))
    assert chosen.file(venue, "rest").parent == chosen.file(here, "rest").parent == tmp_path / "c"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert budgets(tmp_path / "a" / "state").file(venue, "rest").parent == tmp_path / "a" / "state"


def test_how_long_weight_takes_counts_what_others_used(tmp_path: Path) -> None:
    limits = Limits(2400, 60.0)
    one, two = SharedBudget(limits, tmp_path / "b.json"), SharedBudget(limits, tmp_path / "b.json")
    assert [one.eta_s(weight, 1000.0) for weight in (0, 2160, 2161, 12_000)] == [0.0, 0.0, 60.0, 300.0]
    assert one.eta_s(12_000, 1000.0, others=1200) == 720.0
    two.take(1000.0, 1)
    assert two.reserve(1000.0, 2000) == 0.0
    assert one.eta_s(2160, 1001.0) == 60.0, "another program of this host used most of this minute"


def test_a_ban_is_everybodys_and_outlives_the_process(tmp_path: Path) -> None:
    path, limits = tmp_path / "b.json", Limits(100, 60.0)
    one, two = SharedBudget(limits, path), SharedBudget(limits, path)
    one.block(1000.0, 30.0)
    assert two.reserve(1010.0, 1) == 20.0 and SharedBudget(limits, path).reserve(1025.0, 1) == 5.0 and two.reserve(1030.0, 90) == 0.0
    assert one.reserve(1031.0, 1) > 50, "the other one used it up"
    one.told(1040.0, 90)
    assert one.used(1040.0) == 90, "the venue counted what both used, and it is known"


@pytest.mark.parametrize("content", [b"", b"{", b"[1,2]", b"\xff\x00", b'{"blocked_until":9e99,"used":[[9e99,50]]}'])
def test_a_broken_file_or_a_set_clock_holds_up_nobody_for_ever(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(content)
    budget = SharedBudget(Limits(100, 60.0), path)
    assert budget.reserve(1000.0, 10) <= 3 * 86_400
    budget.blocked_until = 0.0
    path.write_bytes(json.dumps({"used": [[9e9, 90]]}).encode())
    assert 0 < budget.reserve(1000.0, 10) <= 61


def test_without_the_file_it_goes_on_alone(tmp_path: Path) -> None:
    import fcntl

    nowhere = SharedBudget(Limits(100, 60.0), tmp_path / "no" / "b.json")
    assert nowhere.reserve(1.0, 90) == 0.0 and nowhere.alone and nowhere.reserve(2.0, 10) > 50
    path = tmp_path / "b.json"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        budget = SharedBudget(Limits(100, 60.0), path)
        waits = [budget.reserve(1.0, 1) for _ in range(150)]
    assert waits[0] == 0.01 and waits[-1] == 0.0 and budget.alone, "a stopped process does not stop us"
    assert budget.reserve(2.0, 1) == 0.0 and not budget.alone
