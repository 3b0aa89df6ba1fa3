"""Keys: how they are made, stored, found and refused."""

import asyncio
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shieldx_contract import API_KEY_PATTERN
from shieldx_runtime.core import auth
from shieldx_runtime.core.auth import Authenticator, Scope, StoredKey, hash_key, header_digest, key_id_of, new_key
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.problems import ProblemError

PEPPER = b"pepper" * 4
ADMIN = f"sxk_{'a' * 16}_{'A' * 43}"


class Keys:
    """The table of keys, and how often it was asked."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredKey] = {}
        self.lookups = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def find(self, key_id: str) -> StoredKey | None:
        self.lookups += 1
        found = self.stored.get(key_id)
        await self.answers.wait()
        if self.away:
            raise DatabaseUnavailableError("it is away")
        return found

    def add(self, *, revoked: bool = False, expires_at: datetime | None = None) -> str:
        key_id, key = new_key()
        self.stored[key_id] = StoredKey(
            key_id, hash_key(PEPPER, key), "org-1", frozenset({Scope.READ}), expires_at, revoked
        )
        return key


@pytest.fixture
def keys() -> Keys:
    return Keys()


class Clock:
    """What `time.monotonic` says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def authenticator(keys: Keys) -> Authenticator:
    return Authenticator(pepper=PEPPER, admin_key=ADMIN, lookup=keys.find)


async def _refused(authenticator: Authenticator, header: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        await authenticator.authenticate(header)
    assert caught.value.kind.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith('Bearer realm="shieldx"')


def test_new_keys_have_the_form_of_the_contract_and_differ() -> None:
    made = {new_key() for _ in range(50)}
    assert len(made) == 50
    for key_id, key in made:
        assert re.fullmatch(API_KEY_PATTERN, key)
        assert key_id_of(key) == key_id


def test_the_hash_depends_on_the_pepper_and_on_the_whole_key() -> None:
    assert len({hash_key(PEPPER, ADMIN), hash_key(b"x" * 24, ADMIN), hash_key(PEPPER, ADMIN[:-1] + "B")}) == 3


async def test_the_bootstrap_key_may_do_everything_without_the_database(
    authenticator: Authenticator, keys: Keys
) -> None:
    principal = await authenticator.authenticate(f"Bearer {ADMIN}")
    assert (principal.tenant_id, principal.scopes) == (None, frozenset(Scope))
    assert principal.may_act_for("anybody")
    assert keys.lookups == 0


async def test_an_issued_key_is_its_tenants_with_its_scopes(authenticator: Authenticator, keys: Keys) -> None:
    principal = await authenticator.authenticate(f"bearer  {keys.add()}")
    assert principal.may_act_for("org-1")
    assert not principal.may_act_for("org-2")
    principal.require(Scope.READ)
    with pytest.raises(ProblemError) as caught:
        principal.require(Scope.CONSUME)
    assert caught.value.kind.status == 403


async def test_everything_else_is_refused(authenticator: Authenticator, keys: Keys) -> None:
    key = keys.add()
    past = datetime.now(UTC) - timedelta(seconds=1)
    for header in (
        None,
        "",
        key,
        f"Basic {key}",
        f"Bearer {key}x",
        f"Bearer {key[:-1]}",
        f"Bearer {ADMIN[:-1]}B",
        f"Bearer {new_key()[1]}",
        f"Bearer {key[:-43]}{'B' * 43}",
        f"Bearer {keys.add(revoked=True)}",
        f"Bearer {keys.add(expires_at=past)}",
        "Bearer sxk_ä",
    ):
        await _refused(authenticator, header)


async def test_a_revocation_acts_within_5_s(authenticator: Authenticator, keys: Keys, clock: Clock) -> None:
    key = keys.add()
    await authenticator.authenticate(f"Bearer {key}")
    await authenticator.authenticate(f"Bearer {key}")
    assert keys.lookups == 1
    keys.stored.clear()
    clock.now += 4.9
    await _refused(authenticator, f"Bearer {key}")


async def test_a_forgotten_key_is_looked_up_again(authenticator: Authenticator, keys: Keys) -> None:
    key = keys.add()
    await authenticator.authenticate(f"Bearer {key}")
    authenticator.forget(key.split("_")[1])
    await authenticator.authenticate(f"Bearer {key}")
    assert keys.lookups == 2


async def test_the_cache_of_keys_is_bounded(
    authenticator: Authenticator, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_CACHE_ENTRIES", 3)
    made = [keys.add() for _ in range(4)]
    for key in made:
        await authenticator.authenticate(f"Bearer {key}")
    await authenticator.authenticate(f"Bearer {made[-1]}")
    assert keys.lookups == 4
    await authenticator.authenticate(f"Bearer {made[0]}")
    assert keys.lookups == 5


async def _turns() -> None:
    """Lets the tasks go on: the event loop's clock may stand."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _in_use(authenticator: Authenticator, keys: Keys) -> tuple[str, bytes]:
    """An issued key that has just been found valid: the header with it, and what that is known by."""
    header = f"Bearer {keys.add()}"
    await authenticator.authenticate(header)
    return header, header_digest(header.encode())


async def test_a_key_in_use_never_makes_its_requests_wait_for_the_database(
    authenticator: Authenticator, keys: Keys, clock: Clock
) -> None:
    _, digest = await _in_use(authenticator, keys)
    for _ in range(20):
        clock.now += 1.5
        assert authenticator.known(digest) is not None
        assert authenticator.known(digest) is not None
        await _turns()
    assert keys.lookups == 1 + 20 // 2


async def test_a_revocation_is_seen_by_the_look_beside_the_requests(
    authenticator: Authenticator, keys: Keys, clock: Clock
) -> None:
    header, digest = await _in_use(authenticator, keys)
    (key_id,) = keys.stored
    keys.stored[key_id] = replace(keys.stored[key_id], revoked=True)
    clock.now += 2.5
    assert authenticator.known(digest) is not None
    await _turns()
    assert authenticator.known(digest) is None
    await _refused(authenticator, header)
    assert keys.lookups == 2


async def test_however_many_ask_for_a_key_it_is_looked_up_once(authenticator: Authenticator, keys: Keys) -> None:
    header = f"Bearer {keys.add()}"
    keys.answers.clear()
    asked = [asyncio.create_task(authenticator.authenticate(header)) for _ in range(50)]
    await _turns()
    asked[0].cancel()
    keys.answers.set()
    found = await asyncio.gather(*asked[1:])
    assert keys.lookups == 1
    assert {principal.key_id for principal in found} == set(keys.stored)


async def test_what_was_read_before_a_change_is_not_kept(authenticator: Authenticator, keys: Keys) -> None:
    header = f"Bearer {keys.add()}"
    (key_id,) = keys.stored
    keys.answers.clear()
    early = asyncio.create_task(authenticator.authenticate(header))
    await _turns()
    keys.stored[key_id] = replace(keys.stored[key_id], revoked=True)
    authenticator.forget(key_id)
    keys.answers.set()
    await early
    assert authenticator.known(header_digest(header.encode())) is None
    await _refused(authenticator, header)


async def test_while_the_database_is_away_a_key_is_believed_for_its_time_and_looked_up_once_a_second(
    authenticator: Authenticator, keys: Keys, clock: Clock
) -> None:
    header, digest = await _in_use(authenticator, keys)
    keys.away = True
    for _ in range(20):
        clock.now += 0.19
        assert authenticator.known(digest) is not None
        await _turns()
    assert keys.lookups == 3
    clock.now += 0.3
    assert authenticator.known(digest) is None
    with pytest.raises(DatabaseUnavailableError):
        await authenticator.authenticate(header)
