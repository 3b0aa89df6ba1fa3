"""Descriptions and references, sealed on their way into the ledger and opened on their way out.

Sealing is on the path of every movement: keys in use are remembered for a minute. Opening asks for the keys each time,
so that a destroyed one is of no use anywhere at once; a minute later no process remembers it either.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter

from shieldx_runtime.core import log, statements, vault
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.vault import DataKey, KeyWornOutError, MasterKeys, VaultError, WrongKeyError

DESCRIPTION: Final = "description"
REFERENCE: Final = "reference"
_REMEMBERED_S: Final = 60.0
_MAX_REMEMBERED: Final = 50_000
_KEY_MAX_AGE_S: Final = 90 * 24 * 3600.0
_REWRAP_BATCH: Final = 200
_SQL: Final = statements.load(resources.files("shieldx_runtime.credits") / "privacy.sql")
_logger = log.get(__name__)


class Masters(Protocol):
    def current(self) -> MasterKeys | None:
        """The master keys at this moment; None where the service has none."""
        ...


class Texted(Protocol):
    """What has the free texts of one entry. They are bound to its idempotency key."""

    @property
    def tenant_id(self) -> str: ...

    @property
    def idempotency_key(self) -> str: ...

    @property
    def description(self) -> str | None: ...

    @property
    def reference(self) -> str | None: ...


class Draft(NamedTuple):
    """The free texts of one entry and nothing else of it."""

    tenant_id: str
    idempotency_key: str
    description: str | None = None
    reference: str | None = None


class Stored(NamedTuple):
    """One text as the ledger has it. `row` is the idempotency key of its entry."""

    name: str
    row: str
    text: str | None


class Texts:
    """One object a process. Every method raises DatabaseUnavailableError."""

    def __init__(self, database: Database, masters: Masters, registry: CollectorRegistry) -> None:
        self._database = database
        self._masters = masters
        self._keys: OrderedDict[str, tuple[float, DataKey]] = OrderedDict()
        self._loading = asyncio.Lock()
        self._unreadable = Counter(
            "credits_texts_unreadable",
            "Sealed texts that could not be opened although their key was not destroyed",
            registry=registry,
        )

    async def seal(self, drafts: Sequence[Texted]) -> list[tuple[str | None, str | None]]:
        """Description and reference of each draft as they are to be stored."""
        masters = self._masters.current()
        if masters is None:
            return [(_plain(draft.description), _plain(draft.reference)) for draft in drafts]
        wanted = {d.tenant_id for d in drafts if d.description is not None or d.reference is not None}
        try:
            keys = await self._keys_for(wanted, masters) if wanted else {}
            return [_sealed(draft, keys.get(draft.tenant_id)) for draft in drafts]
        except KeyWornOutError as worn:
            _logger.info("a tenant's data key is worn out", problem=str(worn))
            fresh = await self._make(wanted, masters)
            return [_sealed(draft, fresh.get(draft.tenant_id)) for draft in drafts]

    def seal_at_once(self, draft: Texted) -> tuple[str | None, str | None] | None:
        """As `seal`, for one whose key this process has in use; None: ask `seal`."""
        if draft.description is None and draft.reference is None:
            return None, None
        found = self._keys.get(draft.tenant_id)
        if found is None or time.monotonic() - found[0] >= _REMEMBERED_S:
            return None
        try:
            return _sealed(draft, found[1])
        except KeyWornOutError:
            return None

    async def open(self, tenant_id: str, texts: Sequence[Stored]) -> list[str | None]:
        """The texts again; None for one whose key was destroyed, and for one that does not open, which is logged."""
        ids = {key_id for stored in texts if stored.text and (key_id := vault.key_id_of(stored.text))}
        keys = await self._usable(tenant_id, ids) if ids else {}
        return [self._opened(stored, keys) for stored in texts]

    def forget(self, tenant_id: str) -> None:
        """Drops the tenant's key, which has just been destroyed."""
        self._keys.pop(tenant_id, None)

    async def rewrap(self) -> int:
        """Brings data keys of retired master keys under the active one, some at a time; how many it was."""
        masters = self._masters.current()
        if masters is None:
            return 0
        retired = [key_id for key_id in masters.keys if key_id != masters.active_id]
        rows = await self._database.fetch(_SQL["keys_under_other_masters"], retired, _REWRAP_BATCH)
        changed: list[tuple[str, bytes, bytes]] = []
        for row in rows:
            try:
                secret = masters.unwrap(row["master_id"], row["tenant_id"], row["key_id"], row["wrapped"])
            except WrongKeyError:
                # told whenever its texts are asked for
                continue
            changed.append((row["key_id"], row["wrapped"], masters.wrap(row["tenant_id"], row["key_id"], secret)))
        if not changed:
            return 0
        columns = [list(column) for column in zip(*changed, strict=True)]
        done = await self._database.fetch(_SQL["rewrap"], masters.active_id, *columns)
        _logger.info("data keys brought under the active master key", keys=len(done), master_id=masters.active_id)
        return len(done)

    async def in_use(self) -> dict[str, int]:
        """How many data keys each master key wraps."""
        return {row["master_id"]: row["keys"] for row in await self._database.fetch(_SQL["masters_in_use"])}

    async def _keys_for(self, tenant_ids: Iterable[str], masters: MasterKeys) -> dict[str, DataKey]:
        now = time.monotonic()
        keys = {t: found[1] for t in tenant_ids if (found := self._keys.get(t)) and now - found[0] < _REMEMBERED_S}
        missing = [t for t in tenant_ids if t not in keys]
        if not missing:
            return keys
        async with self._loading:
            return keys | await self._load(missing, masters)

    async def _load(self, tenant_ids: list[str], masters: MasterKeys) -> dict[str, DataKey]:
        rows = await self._database.fetch(_SQL["keys_in_use"], tenant_ids, _KEY_MAX_AGE_S)
        keys: dict[str, DataKey] = {}
        for row in rows:
            known = self._keys.get(row["tenant_id"])
            try:
                secret = masters.unwrap(row["master_id"], row["tenant_id"], row["key_id"], row["wrapped"])
            except WrongKeyError as error:
                # money goes on moving: what is new is sealed under a new key
                _logger.error("a data key cannot be unwrapped", problem=str(error))  # noqa: TRY400
                continue
            # the one in use counts what it has sealed
            same = known is not None and known[1].key_id == row["key_id"]
            key = known[1] if same and known else DataKey(row["tenant_id"], row["key_id"], secret)
            keys[row["tenant_id"]] = key
        self._remember(keys.values())
        missing = [t for t in tenant_ids if t not in keys]
        return keys | await self._make(missing, masters) if missing else keys

    async def _make(self, tenant_ids: Iterable[str], masters: MasterKeys) -> dict[str, DataKey]:
        made = {tenant_id: vault.new_data_key() for tenant_id in tenant_ids}
        rows = await self._database.fetch(
            _SQL["add_keys"],
            [key_id for key_id, _ in made.values()],
            list(made),
            [masters.active_id] * len(made),
            [masters.wrap(tenant_id, key_id, secret) for tenant_id, (key_id, secret) in made.items()],
        )
        stored = {row["key_id"] for row in rows}
        keys = {t: DataKey(t, key_id, secret) for t, (key_id, secret) in made.items()}
        # a tenant that does not exist has nothing that a text could be stored with: its key is used and thrown away
        self._remember(key for key in keys.values() if key.key_id in stored)
        return keys

    def _remember(self, keys: Iterable[DataKey]) -> None:
        now = time.monotonic()
        for key in keys:
            self._keys[key.tenant_id] = (now, key)
            self._keys.move_to_end(key.tenant_id)
        while self._keys:
            oldest, (since, _) = next(iter(self._keys.items()))
            if len(self._keys) <= _MAX_REMEMBERED and now - since < _REMEMBERED_S * 2:
                break
            del self._keys[oldest]

    async def _usable(self, tenant_id: str, key_ids: set[str]) -> dict[str, DataKey | VaultError | None]:
        """The keys of texts by their ids; None for a destroyed one, the error for one that cannot be used."""
        masters = self._masters.current()
        keys: dict[str, DataKey | VaultError | None] = {}
        for row in await self._database.fetch(_SQL["keys_of_texts"], tenant_id, list(key_ids)):
            key_id, wrapped = row["key_id"], row["wrapped"]
            if wrapped is None:
                keys[key_id] = None
            elif masters is None:
                keys[key_id] = WrongKeyError("the service has no master key: mount the Secret of the master keys")
            else:
                try:
                    secret = masters.unwrap(row["master_id"], tenant_id, key_id, wrapped)
                    keys[key_id] = DataKey(tenant_id, key_id, secret)
                except WrongKeyError as error:
                    keys[key_id] = error
        return keys

    def _opened(self, stored: Stored, keys: dict[str, DataKey | VaultError | None]) -> str | None:
        if stored.text is None:
            return None
        key_id = vault.key_id_of(stored.text)
        if key_id is None:
            return vault.read_plain(stored.text)
        try:
            key = keys.get(key_id, WrongKeyError(f"data key {key_id} is not this tenant's, or was removed"))
            if isinstance(key, VaultError):
                raise key
            return None if key is None else key.open(stored.name, stored.row.encode(), stored.text)
        except VaultError as error:
            self._unreadable.inc()
            _logger.error("a sealed text does not open", row=stored.row, problem=str(error))  # noqa: TRY400
            return None


def _plain(text: str | None) -> str | None:
    return None if text is None else vault.store_plain(text)


def _sealed(draft: Texted, key: DataKey | None) -> tuple[str | None, str | None]:
    if key is None:
        return None, None
    row = draft.idempotency_key.encode()
    return (
        None if draft.description is None else key.seal(DESCRIPTION, row, draft.description),
        None if draft.reference is None else key.seal(REFERENCE, row, draft.reference),
    )
