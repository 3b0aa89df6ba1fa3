"""What a user would write instead: FastAPI, a pool, one transaction a request. Uvicorn runs `app` with one worker.

It keeps no audit chain and hashes no key, so that it does less than the service for each consume.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field


class Consume(BaseModel):
    tenant_id: str
    amount: Annotated[int, Field(ge=1)]
    description: str | None = None
    reference: str | None = None
    idempotency_key: uuid.UUID


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BENCH_DATABASE_URI"], min_size=5, max_size=10) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan)
_HASH = bytes(32)


def _authenticated(authorization: Annotated[str, Header()] = "") -> None:
    if authorization != f"Bearer {os.environ['BENCH_API_KEY']}":
        raise HTTPException(401)


@app.post("/credits/consume", dependencies=[Depends(_authenticated)])
async def consume(request: Request, body: Consume) -> dict[str, Any]:
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        first = await connection.fetchrow(
            "SELECT transaction_id, balance FROM credits.idempotency "
            "WHERE tenant_id = $1 AND idempotency_key = $2 AND day >= current_date - 1",
            body.tenant_id,
            body.idempotency_key,
        )
        if first:
            return {"success": True, "transaction_id": first["transaction_id"], "balance": first["balance"]}
        account = await connection.fetchrow(
            "UPDATE credits.accounts SET balance = balance - $2, total_spent = total_spent + $2, version = version + 1 "
            "WHERE tenant_id = $1 AND balance - reserved_funds >= $2 RETURNING balance, version",
            body.tenant_id,
            body.amount,
        )
        if account is None:
            raise HTTPException(402)
        transaction_id = uuid.uuid4()
        await connection.execute(
            "INSERT INTO credits.ledger (transaction_id, tenant_id, version, kind, amount, balance_after, "
            "idempotency_key, key_id, description, reference) VALUES ($1, $2, $3, 'consume', $4, $5, $6, 'x', $7, $8)",
            transaction_id,
            body.tenant_id,
            account["version"],
            body.amount,
            account["balance"],
            body.idempotency_key,
            body.description,
            body.reference,
        )
        await connection.execute(
            "INSERT INTO credits.idempotency (tenant_id, idempotency_key, day, request_hash, outcome, transaction_id, "
            "balance, available) VALUES ($1, $2, current_date, $3, 'done', $4, $5, $5)",
            body.tenant_id,
            body.idempotency_key,
            _HASH,
            transaction_id,
            account["balance"],
        )
    return {"success": True, "transaction_id": transaction_id, "balance": account["balance"]}
