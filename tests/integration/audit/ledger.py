"""A ledger in a database of its own, written by SQL, sealed and exported in this process."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from shieldx_runtime.core.auth import Principal, Scope
from shieldx_runtime.core.checkpoint import Checkpoint, Signer, Verifier
from shieldx_runtime.core.database import Database
from shieldx_runtime.core.quota import Quota
from shieldx_runtime.credits.export import export_ledger
from shieldx_runtime.credits.export_verify import BadExportError, Report, verify
from shieldx_runtime.credits.sealing import Sealer, SealingMetrics

ANYBODY = Principal("0123456789abcdef", None, frozenset(Scope), Quota(1000))


@dataclass
class Key:
    """Stands for the mounted signing key; `private` may be exchanged."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def signer(self) -> Signer:
        return Signer(self.private)


@dataclass
class Ledger:
    uri: str
    uri_file: Path
    database: Database
    connection: "asyncpg.Connection[asyncpg.Record]"
    key: Key = field(default_factory=Key)
    transactions: list[uuid.UUID] = field(default_factory=list)
    publics: list[Signer] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    async def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.connection.fetch(statement, *arguments)

    async def tenant(self, credits_: int = 10**9) -> str:
        tenant_id = f"org-{next(self._numbers)}"
        await self.sql("INSERT INTO credits.accounts (tenant_id) VALUES ($1)", tenant_id)
        rows = await self.sql(
            "SELECT o_transaction_id FROM credits.purchase($1, $2, $3, $4, 'buyer', 'invoice-1', 'card', 100, NULL)",
            tenant_id,
            credits_,
            uuid.uuid4(),
            bytes(32),
        )
        self.transactions.append(rows[0]["o_transaction_id"])
        return tenant_id

    async def consume(
        self,
        tenants: Sequence[str],
        *,
        on: "asyncpg.Connection[asyncpg.Record] | None" = None,
        texts: Sequence[tuple[str | None, str | None]] = (),
        keys: Sequence[uuid.UUID] = (),
    ) -> list[uuid.UUID]:
        """One batch: a credit of each of these tenants."""
        count = len(tenants)
        words = texts or [(f'charge "{n}" | caf\u00e9', f"req-{n}") for n in range(count)]
        rows = await (on or self.connection).fetch(
            "SELECT o_outcome, o_transaction_id FROM credits.consume_batch(true, $1, $2, $3, $4, $5, $6, $7)",
            list(tenants),
            [1] * count,
            list(keys) or [uuid.uuid4() for _ in tenants],
            [bytes(32)] * count,
            ["0123456789abcdef"] * count,
            [description for description, _ in words],
            [reference for _, reference in words],
        )
        assert {row["o_outcome"] for row in rows} == {"done"}
        made = [row["o_transaction_id"] for row in rows]
        self.transactions += made
        return made

    async def event(self, tenant_id: str | None, text: str) -> None:
        await self.sql("SELECT credits.record_event(0, $1, $2)", tenant_id, text)

    async def consume_at_once(self, tenants: Sequence[str], *, writers: int, batches: int, seed: int) -> None:
        """Several writers, so that there are several chains."""

        async def write(number: int) -> None:
            dice = random.Random(seed * 100 + number)  # noqa: S311 - repeatable on purpose
            connection = await asyncpg.connect(self.uri)
            try:
                for _ in range(batches):
                    await self.consume([dice.choice(tenants) for _ in range(dice.randint(1, 9))], on=connection)
            finally:
                await connection.close()

        await asyncio.gather(*[write(number) for number in range(writers)])

    def sealer(self, *, interval_s: float = 0.0) -> Sealer:
        return Sealer(self.database, self.key, SealingMetrics(CollectorRegistry()), interval_s=interval_s)

    async def seal(self) -> None:
        self.publics.append(self.key.signer())
        await self.sealer().seal_if_due()

    @property
    def verifier(self) -> Verifier:
        return Verifier.from_pem("\n".join(signer.public_pem() for signer in self.publics).encode())

    async def export(self) -> bytes:
        out = BytesIO()
        await export_ledger(self.uri_file, out)
        return out.getvalue()

    async def verify(self, *kept: Checkpoint) -> Report:
        return verify(BytesIO(await self.export()), self.verifier, kept)

    async def fault(self, *kept: Checkpoint) -> BadExportError:
        """What is wrong with the export; there must be something."""
        try:
            report = await self.verify(*kept)
        except BadExportError as error:
            return error
        raise AssertionError(f"nothing was found: {report}")

    async def grown(self, seed: int = 1) -> list[str]:
        """A ledger of some tenants, writers and checkpoints, with a little that is not sealed yet."""
        tenants = [await self.tenant() for _ in range(4)]
        for round_ in range(3):
            await self.consume_at_once(tenants, writers=3, batches=3, seed=seed * 10 + round_)
            await self.event(tenants[0], f'["access",1,"who","what",{round_}]')
            await self.seal()
        await self.consume(tenants)
        return tenants
