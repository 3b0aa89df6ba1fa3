"""What the calls mean: who may, what the outcome is called, what the cache must know."""

import asyncio
import hmac
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from shieldx_runtime.core import log
from shieldx_runtime.core.auth import Authenticator, KeyTerms, Principal, StoredKey, hash_key, new_key
from shieldx_runtime.core.breaker import Breaker
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.balances import BalanceCache, is_due
from shieldx_runtime.credits.batcher import Batcher
from shieldx_runtime.credits.model import Account, Consume, Entry, Grant, Outcome, Purchase, Receipt, Result
from shieldx_runtime.credits.repository import Repository

PARTITION_DAYS_AHEAD: Final = 7
_logger = log.get(__name__)


class CreditsService:
    """One object a process. Every method raises ProblemError for a refusal and DatabaseUnavailableError."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        *,
        repository: Repository,
        batcher: Batcher,
        balances: BalanceCache,
        authenticator: Authenticator,
        metrics: Metrics,
        pepper: bytes,
        breakers: Sequence[Breaker] = (),
    ) -> None:
        self._repository = repository
        self._batcher = batcher
        self._balances = balances
        self._authenticator = authenticator
        self._metrics = metrics
        self._pepper = pepper
        self._breakers = {breaker.name: breaker for breaker in breakers}

    async def consume(self, principal: Principal, consume: Consume) -> Receipt:
        """Takes credits, or tells again what the key was first answered.

        Raises:
            ProblemError: 402 insufficient (also replayed), 404 unknown tenant, 409 in flight, 422 key reused.
        """
        with self.counted("consume") as counter:
            if not principal.may_act_for(consume.tenant_id):
                raise problems.unknown_tenant(consume.tenant_id)
            receipt = receipt_of(consume.tenant_id, consume.amount, await self._batcher.consume(consume))
            counter.result = "replayed" if receipt.replayed else "ok"
            return receipt

    async def purchase(self, principal: Principal, purchase: Purchase) -> Receipt:
        """Adds a grant. Raises: ProblemError 404, 409, 422 as `consume`, and 422 beyond the largest balance."""
        with self.counted("purchase") as counter:
            if not principal.may_act_for(purchase.tenant_id):
                raise problems.unknown_tenant(purchase.tenant_id)
            result = await self._repository.purchase(purchase, principal.key_id)
            return await self._done(purchase.tenant_id, purchase.amount, result, counter)

    async def refund(self, principal: Principal, transaction_id: uuid.UUID, amount: int, key: uuid.UUID) -> Receipt:
        """Gives credits of a consume or commit back. Raises: ProblemError 404 unknown transaction, 422 beyond it."""
        with self.counted("refund") as counter:
            result = await self._repository.refund(
                transaction_id, amount, key=key, key_id=principal.key_id, only_tenant_id=principal.tenant_id
            )
            if result.outcome is Outcome.UNKNOWN_TRANSACTION:
                raise problems.unknown_transaction(transaction_id)
            return await self._done(result.tenant_id, amount, result, counter)

    async def reserve(
        self, principal: Principal, tenant_id: str, amount: int, *, expires_in_s: int, key: uuid.UUID
    ) -> Receipt:
        """Holds credits. Its transaction is the reservation. Raises: ProblemError as `consume`."""
        with self.counted("reserve") as counter:
            if not principal.may_act_for(tenant_id):
                raise problems.unknown_tenant(tenant_id)
            result = await self._repository.reserve(
                tenant_id, amount, expires_in_s=expires_in_s, key=key, key_id=principal.key_id
            )
            return await self._done(tenant_id, amount, result, counter)

    async def close_hold(
        self, principal: Principal, reservation_id: uuid.UUID, amount: int | None, key: uuid.UUID
    ) -> Receipt:
        """Commits `amount` of a hold, or cancels it (None).

        Raises:
            ProblemError: 404 unknown reservation; 409 it is closed; 422 more than it holds.
        """
        with self.counted("cancel" if amount is None else "commit") as counter:
            result = await self._repository.close_hold(
                reservation_id, amount, key=key, key_id=principal.key_id, only_tenant_id=principal.tenant_id
            )
            if result.outcome is Outcome.UNKNOWN_RESERVATION:
                raise problems.unknown_reservation(reservation_id)
            return await self._done(result.tenant_id, amount or 0, result, counter)

    async def _done(self, tenant_id: str, amount: int, result: Result, counter: "Counter") -> Receipt:
        if result.account is not None:
            await self._balances.written([result.account])
        receipt = receipt_of(tenant_id, amount, result)
        counter.result = "replayed" if receipt.replayed else "ok"
        return receipt

    async def balance(self, principal: Principal, tenant_id: str) -> Account:
        """Raises: ProblemError 404, unknown tenant."""
        with self.counted("balance"):
            if not principal.may_act_for(tenant_id):
                raise problems.unknown_tenant(tenant_id)
            account = await self._balances.read(tenant_id, self.load)
            if account is None:
                raise problems.unknown_tenant(tenant_id)
            return account

    async def load(self, tenant_id: str) -> Account | None:
        """The account out of the database, with everything carried out that was due."""
        account = await self._repository.account(tenant_id)
        if account is None or not is_due(account):
            return account
        settled = await self._repository.settle(tenant_id)
        if settled is not None and settled.version != account.version:
            await self._balances.written([settled])
        return settled

    async def settle_due(self, limit: int) -> int:
        """Carries out what is due of at most so many tenants; how many those were."""
        tenants = await self._repository.due(limit)
        settled = [await self._repository.settle(tenant_id) for tenant_id in tenants]
        accounts = [account for account in settled if account is not None]
        if accounts:
            await self._balances.written(accounts)
        return len(accounts)

    async def balance_at(self, principal: Principal, tenant_id: str, moment: datetime) -> Account:
        """The balance as the ledger has it for a time. Raises: ProblemError 404, unknown tenant."""
        with self.counted("balance_at"):
            await self._known(principal, tenant_id)
            return await self._repository.account_at(tenant_id, moment)

    async def grants(
        self, principal: Principal, tenant_id: str, after: tuple[datetime, uuid.UUID], limit: int
    ) -> list[Grant]:
        """The lots of a tenant, the oldest first. Raises: ProblemError 404, unknown tenant."""
        with self.counted("grants"):
            await self._known(principal, tenant_id)
            # what was spent is drawn from the lots first
            await self._repository.settle(tenant_id)
            return await self._repository.grants(tenant_id, after, limit)

    async def transactions(  # noqa: PLR0913 - filters
        self,
        principal: Principal,
        tenant_id: str,
        *,
        before_version: int,
        kinds: list[str] | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> list[Entry]:
        """Entries of the ledger, the newest first. Raises: ProblemError 404, unknown tenant."""
        with self.counted("transactions"):
            await self._known(principal, tenant_id)
            return await self._repository.transactions(
                tenant_id, before_version=before_version, kinds=kinds, since=since, until=until, limit=limit
            )

    async def _known(self, principal: Principal, tenant_id: str) -> None:
        if not principal.may_act_for(tenant_id):
            raise problems.unknown_tenant(tenant_id)
        if await self.load(tenant_id) is None:
            raise problems.unknown_tenant(tenant_id)

    async def create_tenant(self, tenant_id: str) -> tuple[Account, bool]:
        """The account, and whether it is new."""
        with self.counted("create_tenant"):
            created = await self._repository.create_account(tenant_id)
            if created:
                _logger.info("tenant created", tenant_id=tenant_id)
                return created, True
            return await self._account(tenant_id), False

    async def issue_key(self, terms: KeyTerms) -> tuple[str, str]:
        """A new key id and its key, which nobody can read again.

        Raises:
            ProblemError: 404, the tenant is unknown.
        """
        with self.counted("issue_key"):
            if terms.tenant_id is not None:
                await self._account(terms.tenant_id)
            key_id, key = new_key()
            stored = self._stored(key_id, key, terms)
            if not await self._repository.insert_key(stored):
                raise RuntimeError(f"a new random key id, {key_id}, is taken")
            _logger.info("key issued", key_id=key_id, tenant_id=terms.tenant_id, scopes=sorted(terms.scopes))
            return key_id, key

    async def register_key(self, key_id: str, key: str, terms: KeyTerms) -> bool:
        """Makes a key valid that its owner has chosen; True if it is new. Again, with other terms: they apply.

        Raises:
            ProblemError: 404 unknown tenant; 409 the id has another secret or tenant, or was revoked.
        """
        with self.counted("register_key"):
            if terms.tenant_id is not None:
                await self._account(terms.tenant_id)
            stored = self._stored(key_id, key, terms)
            if await self._repository.insert_key(stored):
                _logger.info("key registered", key_id=key_id, tenant_id=terms.tenant_id, scopes=sorted(terms.scopes))
                return True
            known = await self._repository.key(key_id)
            if known and (
                not hmac.compare_digest(known.key_hash, stored.key_hash) or known.tenant_id != terms.tenant_id
            ):
                raise ProblemError(
                    problems.API_KEY_CONFLICT,
                    f"key id {key_id!r} is registered with another secret or tenant: choose another id",
                )
            if not await self._repository.update_key(stored):
                raise ProblemError(
                    problems.API_KEY_REVOKED, f"key id {key_id!r} was revoked and stays so: choose another id"
                )
            self._authenticator.forget(key_id)
            return False

    async def revoke_key(self, key_id: str) -> None:
        """Ends a key here at once and in other replicas within 5 s. An unknown one is as good as revoked."""
        with self.counted("revoke_key"):
            if await self._repository.revoke_key(key_id):
                _logger.info("key revoked", key_id=key_id)
            self._authenticator.forget(key_id)

    def reset_breaker(self, name: str) -> Breaker:
        """Closes a circuit breaker of this process. Raises: ProblemError 404, there is no such one."""
        with self.counted("reset_breaker"):
            breaker = self._breakers.get(name)
            if breaker is None:
                raise problems.unknown_breaker(name, sorted(self._breakers))
            breaker.reset()
            _logger.info("circuit breaker reset", breaker=name)
            return breaker

    async def _account(self, tenant_id: str) -> Account:
        account = await self._repository.account(tenant_id)
        if account is None:
            raise problems.unknown_tenant(tenant_id)
        return account

    def _stored(self, key_id: str, key: str, terms: KeyTerms) -> StoredKey:
        return StoredKey(
            key_id=key_id,
            key_hash=hash_key(self._pepper, key),
            tenant_id=terms.tenant_id,
            scopes=terms.scopes,
            expires_at=terms.expires_at,
            revoked=False,
            rate_limit=terms.rate_limit,
        )

    @contextmanager
    def counted(self, op: str) -> Generator["Counter", None, None]:
        counter = Counter()
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


class Counter:
    """What `credits_operations_total` will say of the operation."""

    result = "ok"


def receipt_of(tenant_id: str, amount: int, result: Result) -> Receipt:
    """The receipt of a movement that took place; the refusal of any other. Raises: ProblemError."""
    if result.outcome is Outcome.DONE and result.transaction_id:
        return Receipt(result.transaction_id, result.balance, result.available, result.replayed, result.expires_at)
    if result.outcome is Outcome.INSUFFICIENT:
        raise problems.insufficient(tenant_id, available=result.available, required=amount, replayed=result.replayed)
    refusals: dict[Outcome, Callable[[], ProblemError]] = {
        Outcome.LIMIT: lambda: problems.balance_limit(tenant_id, balance=result.balance, amount=amount),
        Outcome.UNKNOWN_TENANT: lambda: problems.unknown_tenant(tenant_id),
        Outcome.IN_FLIGHT: problems.in_flight,
        Outcome.KEY_REUSED: problems.key_reused,
        Outcome.REFUND_LIMIT: lambda: problems.refund_limit(amount, result.limit),
        Outcome.RESERVATION_CLOSED: lambda: problems.reservation_closed(result.state),
        Outcome.HOLD_LIMIT: lambda: problems.hold_limit(amount, result.limit),
    }
    refusal = refusals[result.outcome]()
    raise refusal
