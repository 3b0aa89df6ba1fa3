"""What the calls mean: who may, what the outcome is called, what the cache must know."""

import asyncio
import hmac
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from shieldx_runtime.core import log
from shieldx_runtime.core.auth import Authenticator, Principal, Scope, StoredKey, hash_key, new_key
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.balances import BalanceCache
from shieldx_runtime.credits.model import Account, Movement, Outcome, Receipt, Result
from shieldx_runtime.credits.repository import Repository

PARTITION_DAYS_AHEAD: Final = 7
_logger = log.get(__name__)


class CreditsService:
    """One object a process. Every method raises ProblemError for a refusal and DatabaseUnavailableError."""

    def __init__(
        self,
        *,
        repository: Repository,
        balances: BalanceCache,
        authenticator: Authenticator,
        metrics: Metrics,
        pepper: bytes,
    ) -> None:
        self._repository = repository
        self._balances = balances
        self._authenticator = authenticator
        self._metrics = metrics
        self._pepper = pepper

    async def move(self, principal: Principal, movement: Movement) -> Receipt:
        """Carries out a movement, or tells again what its key was first answered.

        Raises:
            ProblemError: 402 insufficient (also replayed), 404 unknown tenant, 409 in flight, 422 key reused or limit.
        """
        with self._counted(movement.kind.value) as counter:
            if not principal.may_act_for(movement.tenant_id):
                raise problems.unknown_tenant(movement.tenant_id)
            result = await self._repository.move(movement, principal.key_id)
            if result.account and result.outcome is Outcome.DONE:
                await self._balances.written(result.account)
            receipt = _receipt(movement, result)
            counter.result = "replayed" if receipt.replayed else "ok"
            return receipt

    async def balance(self, principal: Principal, tenant_id: str) -> Account:
        """Raises: ProblemError 404, unknown tenant."""
        with self._counted("balance"):
            if not principal.may_act_for(tenant_id):
                raise problems.unknown_tenant(tenant_id)
            cached = await self._balances.get(tenant_id)
            self._metrics.cache_read(hit=cached is not None)
            if cached:
                return cached
            account = await self._account(tenant_id)
            await self._balances.put(account)
            return account

    async def create_tenant(self, tenant_id: str) -> tuple[Account, bool]:
        """The account, and whether it is new."""
        with self._counted("create_tenant"):
            created = await self._repository.create_account(tenant_id)
            if created:
                _logger.info("tenant created", tenant_id=tenant_id)
                return created, True
            return await self._account(tenant_id), False

    async def issue_key(
        self, tenant_id: str | None, scopes: frozenset[Scope], expires_at: datetime | None
    ) -> tuple[str, str]:
        """A new key id and its key, which nobody can read again.

        Raises:
            ProblemError: 404, the tenant is unknown.
        """
        with self._counted("issue_key"):
            if tenant_id is not None:
                await self._account(tenant_id)
            key_id, key = new_key()
            stored = self._stored(key_id, key, tenant_id, scopes, expires_at)
            if not await self._repository.insert_key(stored):
                raise RuntimeError(f"a new random key id, {key_id}, is taken")
            _logger.info("key issued", key_id=key_id, tenant_id=tenant_id, scopes=sorted(scopes))
            return key_id, key

    async def register_key(
        self,
        key_id: str,
        *,
        key: str,
        tenant_id: str | None,
        scopes: frozenset[Scope],
        expires_at: datetime | None,
    ) -> bool:
        """Makes a key valid that its owner has chosen; True if it is new. Again, with other scopes: they apply.

        Raises:
            ProblemError: 404 unknown tenant; 409 the id has another secret or tenant, or was revoked.
        """
        with self._counted("register_key"):
            if tenant_id is not None:
                await self._account(tenant_id)
            stored = self._stored(key_id, key, tenant_id, scopes, expires_at)
            if await self._repository.insert_key(stored):
                _logger.info("key registered", key_id=key_id, tenant_id=tenant_id, scopes=sorted(scopes))
                return True
            known = await self._repository.key(key_id)
            if known and (not hmac.compare_digest(known.key_hash, stored.key_hash) or known.tenant_id != tenant_id):
                raise ProblemError(
                    problems.API_KEY_CONFLICT,
                    f"key id {key_id!r} is registered with another secret or tenant: choose another id",
                )
            if not await self._repository.update_key(key_id, scopes, expires_at):
                raise ProblemError(
                    problems.API_KEY_REVOKED, f"key id {key_id!r} was revoked and stays so: choose another id"
                )
            self._authenticator.forget(key_id)
            return False

    async def revoke_key(self, key_id: str) -> None:
        """Ends a key here at once and in other replicas within 5 s. An unknown one is as good as revoked."""
        with self._counted("revoke_key"):
            if await self._repository.revoke_key(key_id):
                _logger.info("key revoked", key_id=key_id)
            self._authenticator.forget(key_id)

    async def _account(self, tenant_id: str) -> Account:
        account = await self._repository.account(tenant_id)
        if account is None:
            raise problems.unknown_tenant(tenant_id)
        return account

    def _stored(
        self, key_id: str, key: str, tenant_id: str | None, scopes: frozenset[Scope], expires_at: datetime | None
    ) -> StoredKey:
        return StoredKey(
            key_id=key_id,
            key_hash=hash_key(self._pepper, key),
            tenant_id=tenant_id,
            scopes=scopes,
            expires_at=expires_at,
            revoked=False,
        )

    @contextmanager
    def _counted(self, op: str) -> Generator["_Counter", None, None]:
        counter = _Counter()
        try:
            yield counter
        except ProblemError as error:
            counter.result = error.kind.slug
            raise
        except (DatabaseUnavailableError, asyncio.CancelledError):
            counter.result = "unavailable"
            raise
        except Exception:
            counter.result = "error"
            raise
        finally:
            self._metrics.operation(op, counter.result)


class _Counter:
    result = "ok"


def _receipt(movement: Movement, result: Result) -> Receipt:
    """The receipt of a movement that took place; the refusal of any other."""
    tenant_id, amount = movement.tenant_id, movement.amount
    if result.outcome is Outcome.DONE and result.transaction_id:
        return Receipt(result.transaction_id, result.balance, result.replayed)
    if result.outcome is Outcome.INSUFFICIENT:
        raise problems.insufficient(tenant_id, available=result.available, required=amount, replayed=result.replayed)
    if result.outcome is Outcome.LIMIT:
        raise problems.balance_limit(tenant_id, balance=result.balance, amount=amount)
    refusals = {
        Outcome.UNKNOWN_TENANT: problems.unknown_tenant(tenant_id),
        Outcome.IN_FLIGHT: problems.in_flight(),
        Outcome.KEY_REUSED: problems.key_reused(),
    }
    raise refusals[result.outcome]
