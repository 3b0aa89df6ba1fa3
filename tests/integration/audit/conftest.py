import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from shieldx_runtime.core.database import Database
from shieldx_runtime.core.migrations import run
from shieldx_runtime.core.settings import DatabaseSettings
from shieldx_runtime.credits.repository import SCHEMA, migrations
from tests.integration.audit.ledger import Ledger
from tests.integration.harness import Stack, new_tenant_id, query

TEMPLATE = "audit_template"


@pytest.fixture(scope="session")
def template(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the schema and nothing in it, to be copied."""
    stack.postgres.create_database(TEMPLATE)
    uri_file = tmp_path_factory.mktemp("template") / "uri"
    uri_file.write_text(stack.postgres.uri(TEMPLATE), encoding="utf-8")
    asyncio.run(run(uri_file, SCHEMA, migrations()))
    query(stack.postgres.uri(TEMPLATE), "SELECT credits.maintain_idempotency(7)")
    return TEMPLATE


@pytest.fixture
def database_uri(stack: Stack, template: str) -> str:
    name = new_tenant_id().replace("-", "_")
    query(stack.postgres.uri("postgres"), f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return stack.postgres.uri(name)


@pytest.fixture
async def ledger(database_uri: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    """An empty ledger of this test's own: it may be spoiled."""
    uri_file = tmp_path / "uri"
    uri_file.write_text(database_uri, encoding="utf-8")
    database = Database(DatabaseSettings(uri_file=uri_file, pool_max_size=4, request_timeout_s=5.0))
    await database.open()
    connection = await asyncpg.connect(database_uri)
    # a template's copy has the template's ledger id
    await connection.execute("UPDATE credits.tree SET ledger_id = gen_random_uuid()")
    try:
        yield Ledger(database_uri, uri_file, database, connection)
    finally:
        await connection.close()
        await database.close()
