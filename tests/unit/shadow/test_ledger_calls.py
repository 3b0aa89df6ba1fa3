"""Calls that pay: whatever the network or somebody in between says is an outcome, in bounded time; none is an error."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from shieldx_client import RetryPolicy
from shieldx_contract import ENV_SHADOW_BILLING_KEY_FILE, ENV_SHADOW_BILLING_PRICE, ENV_SHADOW_BILLING_URL
from shieldx_runtime.core.settings import SettingsError
from shieldx_runtime.shadow.service import ledger
from shieldx_runtime.shadow.service.billing import Billing
from shieldx_runtime.shadow.service.charge import Call, Charge, Failed, Moved, Outcome, State
from shieldx_runtime.shadow.service.charges import Claimed
from shieldx_runtime.shadow.service.terms import Terms, load

CHARGE = Charge(uuid.UUID(int=7), "org-1", State.RESERVING, most=10, hold_s=3600)
PROBLEM = "https://shieldx.dev/problems/"
Handler = Callable[[httpx.Request], "httpx.Response | Awaitable[httpx.Response]"]
Reserve = Callable[[Handler], Awaitable[Outcome]]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("sxk_0011223344556677_" + "x" * 43, encoding="utf-8")
    return file


@pytest.fixture
def reserve(monkeypatch: pytest.MonkeyPatch, key_file: Path) -> Reserve:
    """The outcome of a reserve that the handler answers."""
    monkeypatch.setattr(ledger, "_RETRY", RetryPolicy(tries=3, first_pause_s=0.001))

    async def made(handler: Handler) -> Outcome:
        transport = httpx.MockTransport(handler)  # type: ignore[arg-type] # awaited where it has to be
        monkeypatch.setattr(httpx, "AsyncClient", partial(httpx.AsyncClient, transport=transport))
        made = ledger.Ledger("http://credits:8080", key_file, ENV_SHADOW_BILLING_KEY_FILE)
        try:
            return await made.make(CHARGE, Call.RESERVE)
        finally:
            await made.close()

    return made


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(402, json={"type": f"{PROBLEM}insufficient-credits"}),
        httpx.Response(402, json={"type": f"{PROBLEM}insufficient-credits", "available": None, "required": "x"}),
        httpx.Response(402, text="<html>pay the proxy</html>"),
        httpx.Response(201, json=["no", "object"]),
        httpx.Response(201, json={"reservation_id": 7, "amount": 1, "balance": 1, "available": 1, "expires_at": 5}),
        httpx.Response(302, headers={"location": "http://[half"}),
    ],
)
async def test_what_is_no_answer_of_the_credits_api_leaves_the_hold_unknown(
    reserve: Reserve, answer: httpx.Response
) -> None:
    outcome = await reserve(lambda _: answer)
    assert isinstance(outcome, Failed)
    assert outcome.sent


@pytest.mark.parametrize(
    "error", [httpx.InvalidURL("no URL"), httpx.TooManyRedirects("round"), httpx.DecodingError("no gzip")]
)
async def test_an_error_of_http_is_an_outcome(reserve: Reserve, error: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    assert isinstance(await reserve(fail), Failed)


async def test_an_answer_that_trickles_in_is_not_waited_for(reserve: Reserve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickle(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)  # no phase of it is too slow
        return httpx.Response(201)

    monkeypatch.setattr(ledger, "LONGEST_CALL_S", 0.1)
    began_s = time.monotonic()
    outcome = await reserve(trickle)
    assert time.monotonic() - began_s < 5
    assert outcome == Failed("the credits service at http://credits:8080 gave no answer within 0.1 s")


def _refused(status: int) -> httpx.Response:
    return httpx.Response(status, json={"type": f"{PROBLEM}missing-scope", "title": "x", "detail": "y"})


@pytest.mark.parametrize(
    ("tries", "sent"),
    [
        ([httpx.ConnectError("refused")] * 3, False),
        ([httpx.ConnectTimeout("away")] * 3, False),
        ([_refused(401)], False),
        ([_refused(403)], False),
        ([httpx.ConnectError("refused"), _refused(403)], False),
        ([httpx.ConnectError("refused"), httpx.ReadTimeout("cut"), httpx.ConnectError("refused")], True),
        ([httpx.ReadError("cut"), _refused(401)], True),
        ([_refused(503)] * 3, True),
        ([_refused(503), _refused(401)], True),
        ([_refused(422)], True),
    ],
)
async def test_only_a_call_that_nobody_let_in_has_certainly_held_nothing(
    reserve: Reserve, tries: list[Any], *, sent: bool
) -> None:
    left = list(tries)

    def answer(_: httpx.Request) -> httpx.Response:
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        response: httpx.Response = said
        return response

    outcome = await reserve(answer)
    assert isinstance(outcome, Failed)
    assert (outcome.sent, left) == (sent, [])


async def test_a_key_that_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    outcome = await ledger.Ledger("http://credits:8080", tmp_path / "no", "KEY").make(CHARGE, Call.RESERVE)
    assert isinstance(outcome, Failed)
    assert not outcome.sent


@pytest.mark.parametrize(
    "url",
    ["http://credits:http", "http://credits:99999", "http://credits:0", "http://:8080", "http://[half", "credits"],
)
def test_a_url_that_is_none_is_refused_at_the_start(key_file: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="is no URL: set one such as"):
        load(_environ(key_file, url))


@pytest.mark.parametrize("url", ["http://me:secret@credits:8080", "http://me:secret@[half"])
def test_a_url_with_a_password_is_refused_and_not_repeated(key_file: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="has a user or a password") as refused:
        load(_environ(key_file, url))
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://credits", "https://credits:8443/base", "http://[::1]:8080"])
def test_a_url_is_taken(key_file: Path, url: str) -> None:
    terms = load(_environ(key_file, url))
    assert terms is not None
    assert terms.url == url


def _environ(key_file: Path, url: str) -> dict[str, str]:
    return {
        ENV_SHADOW_BILLING_URL: url,
        ENV_SHADOW_BILLING_KEY_FILE: str(key_file),
        ENV_SHADOW_BILLING_PRICE: "5",
    }


class OneCharge:
    """A charge whose lease has always ended: each claim gives it again."""

    def __init__(self) -> None:
        self.charge = Charge(
            uuid.UUID(int=8), "org-1", State.CANCELLING, most=10, hold_s=60, reservation_id=uuid.UUID(int=9)
        )

    async def claim(self, *_: float) -> list[Claimed]:
        return [Claimed(self.charge, 1, over=False)]

    async def record(self, *_: Any) -> bool:
        return True

    async def end_lost(self, *_: Any) -> int:
        return 0

    cancel_ended = end_lost


class SlowLedger:
    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()

    async def make(self, *_: Any) -> Outcome:
        self.calls += 1
        await self.go_on.wait()
        return Moved()

    async def close(self) -> None:
        self.go_on.set()


async def test_a_charge_that_is_being_settled_is_not_taken_up_beside_itself(
    monkeypatch: pytest.MonkeyPatch, key_file: Path
) -> None:
    monkeypatch.setattr("shieldx_runtime.shadow.service.billing.KEEP_S", 0.01)
    slow, charges = SlowLedger(), OneCharge()
    terms = Terms("http://credits:8080", key_file, 5, 60)
    billing = Billing(terms, charges, slow, lambda *_: None, lost_after_s=60)  # type: ignore[arg-type]
    keeping = asyncio.create_task(billing.keep())
    await asyncio.sleep(0.2)
    assert slow.calls == 1
    keeping.cancel()
    slow.go_on.set()
    await asyncio.gather(keeping, return_exceptions=True)
