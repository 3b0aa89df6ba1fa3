"""No column of the ledger or of the audit log can be changed in any row without being found.

By `verify-ledger`, from the export and the public key alone, or by `credits verify`, on the database.
"""

import random
from typing import Any

import asyncpg
import pytest

from shieldx_runtime.credits.export_verify import BadExportError
from shieldx_runtime.credits.verify import verify
from tests.integration.audit.ledger import Ledger
from tests.integration.audit.test_tampering import Undone

TABLES = ("ledger", "accounts", "chain_links", "chain_heads", "events", "event_heads", "tree", "checkpoints")
FLIPS = {
    "text": "CASE WHEN {0} IS NULL THEN 'x' ELSE overlay({0} PLACING chr(ascii({0}) # 1) FROM 1 FOR 1) END",
    "bigint": "coalesce({0}, 0) # 1",
    "smallint": "coalesce({0}, 0) # 1",
    "integer": "coalesce({0}, 0) # 1",
    "boolean": "NOT {0}",
    "bytea": "set_byte({0}, length({0}) - 1, get_byte({0}, length({0}) - 1) # 1)",
    "uuid": "CASE WHEN {0} IS NULL THEN gen_random_uuid() "
    "ELSE overlay({0}::text PLACING to_hex(('x' || left({0}::text, 1))::bit(4)::int # 1) FROM 1 FOR 1)::uuid END",
    "timestamp with time zone": "coalesce({0}, now()) + interval '1 microsecond'",
}
SAYS_NOTHING = {
    # when a row was written; what it says has its time in the hashed entry
    *(("chain_links", "created_at"), ("events", "created_at"), ("checkpoints", "signed_at"), ("tree", "sealed_at")),
    # to whom an entry is shown that names its tenant itself
    ("events", "subject"),
    # which grants are to be drawn next, and when
    *(("accounts", "drawn"), ("accounts", "next_event_at")),
    # of the first release, and not used since
    ("accounts", "chain_hash"),
    # when an account was made, and what is to be told of it
    *(("accounts", "created_at"), ("accounts", "updated_at"), ("accounts", "alert_below"), ("accounts", "alert_above")),
}
"""No amount, owner, order or text of an entry depends on these."""
COLUMNS = """
SELECT column_name AS name, data_type AS type FROM information_schema.columns
WHERE table_schema = 'credits' AND table_name = $1 ORDER BY ordinal_position
"""


async def found(ledger: Ledger) -> bool:
    try:
        await ledger.verify()
    except BadExportError:
        return True
    return bool(await verify(ledger.connection))


@pytest.mark.parametrize("table", TABLES)
async def test_a_change_in_any_column_of_ledger_and_audit_log_is_found(ledger: Ledger, table: str) -> None:
    await ledger.grown()
    assert not await found(ledger)
    # as somebody would who may do everything
    await ledger.sql("SET session_replication_role = replica")
    dice = random.Random(table)  # noqa: S311 - repeatable on purpose
    unseen = []
    columns: list[Any] = await ledger.sql(COLUMNS, table)
    assert columns
    for column in columns:
        rows = await ledger.sql(f"SELECT ctid AS row FROM credits.{table} ORDER BY ctid")  # noqa: S608
        change = f"UPDATE credits.{table} SET {column['name']} = {FLIPS[column['type']].format(column['name'])}"  # noqa: S608
        async with Undone(ledger):
            try:
                done = await ledger.sql(f"{change} WHERE ctid = $1 RETURNING 1", dice.choice(rows)["row"])
            except asyncpg.IntegrityConstraintViolationError:
                continue
            assert done
            if not await found(ledger):
                unseen.append((table, column["name"]))
    assert set(unseen) - SAYS_NOTHING == set()


async def test_an_entry_that_was_forged_with_its_account_is_found(ledger: Ledger) -> None:
    (tenant_id, *_) = await ledger.grown()
    await ledger.sql(
        "INSERT INTO credits.ledger (tenant_id, version, kind, amount, balance_after, idempotency_key, key_id) "
        "SELECT tenant_id, version + 1, 'purchase', 5, balance + 5, gen_random_uuid(), 'k' "
        "FROM credits.accounts WHERE tenant_id = $1",
        tenant_id,
    )
    await ledger.sql(
        "UPDATE credits.accounts SET balance = balance + 5, total_purchased = total_purchased + 5, "
        "version = version + 1 WHERE tenant_id = $1",
        tenant_id,
    )
    assert [problem for problem in await verify(ledger.connection) if "event chain -1" in problem]
