"""Keys: how they are made, stored, found and refused."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from shieldx_contract import API_KEY_PATTERN
from shieldx_runtime.core import auth
from shieldx_runtime.core.auth import Authenticator, Scope, StoredKey, hash_key, key_id_of, new_key
from shieldx_runtime.core.problems import ProblemError

PEPPER = b"pepper" * 4
ADMIN = f"sxk_{'a' * 16}_{'A' * 43}"


class Keys:
    """The table of keys, and how often it was asked."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredKey] = {}
        self.lookups = 0

    async def find(self, key_id: str) -> StoredKey | None:
        self.lookups += 1
        return self.stored.get(key_id)

    def add(self, *, revoked: bool = False, expires_at: datetime | None = None) -> str:
        key_id, key = new_key()
        self.stored[key_id] = StoredKey(
            key_id, hash_key(PEPPER, key), "org-1", frozenset({Scope.READ}), expires_at, revoked
        )
        return key


@pytest.fixture
def keys() -> Keys:
    return Keys()


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


async def test_a_revocation_acts_within_5_s(
    authenticator: Authenticator, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    key = keys.add()
    await authenticator.authenticate(f"Bearer {key}")
    await authenticator.authenticate(f"Bearer {key}")
    assert keys.lookups == 1
    keys.stored.clear()
    now += 4.9
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
