-- Every statement that the service sends. `-- name:` begins one; the repository calls it by that name.

-- name: consume_batch
SELECT o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_version, o_total_spent, o_total_purchased,
       extract(epoch FROM o_next_event_at)::float8 AS o_next_event_at
FROM credits.consume_batch($1, $2, $3, $4, $5, $6, $7, $8);

-- name: purchase
SELECT o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_reserved_funds, o_total_spent,
       o_total_purchased, o_version, extract(epoch FROM o_next_event_at)::float8 AS o_next_event_at, o_expires_at,
       o_limit, o_state, o_tenant_id
FROM credits.purchase($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: refund
SELECT o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_reserved_funds, o_total_spent,
       o_total_purchased, o_version, extract(epoch FROM o_next_event_at)::float8 AS o_next_event_at, o_expires_at,
       o_limit, o_state, o_tenant_id
FROM credits.refund($1, $2, $3, $4, $5, $6);

-- name: reserve
SELECT o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_reserved_funds, o_total_spent,
       o_total_purchased, o_version, extract(epoch FROM o_next_event_at)::float8 AS o_next_event_at, o_expires_at,
       o_limit, o_state, o_tenant_id
FROM credits.reserve($1, $2, $3, $4, $5, $6);

-- name: close_hold
SELECT o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_reserved_funds, o_total_spent,
       o_total_purchased, o_version, extract(epoch FROM o_next_event_at)::float8 AS o_next_event_at, o_expires_at,
       o_limit, o_state, o_tenant_id
FROM credits.close_hold($1, $2, $3, $4, $5, $6);

-- name: account
SELECT tenant_id, balance, reserved_funds, total_spent, total_purchased, version,
       extract(epoch FROM next_event_at)::float8 AS next_event_at
FROM credits.accounts
WHERE tenant_id = $1;

-- name: settle
SELECT tenant_id, balance, reserved_funds, total_spent, total_purchased, version,
       extract(epoch FROM next_event_at)::float8 AS next_event_at
FROM credits.lock_and_settle($1)
WHERE tenant_id IS NOT NULL;

-- name: due
SELECT tenant_id
FROM credits.accounts
WHERE next_event_at <= now()
ORDER BY next_event_at
LIMIT $1;

-- name: busiest
-- Out of the last $1 entries, the $2 accounts with the most.
SELECT a.tenant_id, a.balance, a.reserved_funds, a.total_spent, a.total_purchased, a.version,
       extract(epoch FROM a.next_event_at)::float8 AS next_event_at
FROM (
    SELECT tenant_id, count(*) AS entries
    FROM (SELECT tenant_id FROM credits.ledger ORDER BY transaction_id DESC LIMIT $1) AS latest
    GROUP BY tenant_id
) AS busy
JOIN credits.accounts a USING (tenant_id)
ORDER BY busy.entries DESC
LIMIT $2;

-- name: account_at
SELECT coalesce(last.balance_after, 0) AS balance, coalesce(last.spent_after, spent.amount, 0)::bigint AS spent,
       coalesce(turn.reserved_after, 0) AS reserved,
       coalesce(turn.purchased_after, bought.amount, 0)::bigint AS purchased,
       coalesce(turn.refunded_after, 0) AS refunded
FROM (SELECT) AS one
LEFT JOIN LATERAL (
    SELECT version, balance_after, spent_after FROM credits.ledger
    WHERE tenant_id = $1 AND version <= credits.version_at($1, $2) ORDER BY version DESC LIMIT 1) AS last ON true
LEFT JOIN LATERAL (
    SELECT version, reserved_after, purchased_after, refunded_after FROM credits.ledger
    WHERE tenant_id = $1 AND version <= last.version AND kind <> 'consume' ORDER BY version DESC LIMIT 1) AS turn ON true
-- what the release before has written knows no totals
LEFT JOIN LATERAL (
    SELECT sum(amount) AS amount FROM credits.ledger
    WHERE last.spent_after IS NULL AND tenant_id = $1 AND version <= last.version AND kind IN ('consume', 'commit'))
    AS spent ON true
LEFT JOIN LATERAL (
    SELECT sum(amount) AS amount FROM credits.ledger
    WHERE turn.purchased_after IS NULL AND tenant_id = $1 AND version <= last.version AND kind = 'purchase')
    AS bought ON true;

-- name: grants
SELECT grant_id, amount, remaining, held, priority, expires_at, source, reference, created_at,
       (SELECT l.idempotency_key FROM credits.ledger l WHERE l.transaction_id = grant_id) AS idempotency_key
FROM credits.grants
WHERE tenant_id = $1 AND (created_at, grant_id) > ($2, $3)
ORDER BY created_at, grant_id
LIMIT $4;

-- name: transactions
SELECT transaction_id, version, kind, amount, balance_after, related_id, description, reference, source, created_at,
       idempotency_key
FROM credits.ledger
WHERE tenant_id = $1 AND version < $2
  AND ($3::text[] IS NULL OR kind = ANY ($3))
  AND ($4::timestamptz IS NULL OR created_at >= $4)
  AND ($5::timestamptz IS NULL OR created_at < $5)
ORDER BY version DESC
LIMIT $6;

-- name: create_account
INSERT INTO credits.accounts (tenant_id)
VALUES ($1)
ON CONFLICT (tenant_id) DO NOTHING
RETURNING tenant_id, balance, reserved_funds, total_spent, total_purchased, version, NULL::float8 AS next_event_at;

-- name: api_key
SELECT key_id, key_hash, tenant_id, scopes, expires_at, revoked_at, rate_limit
FROM credits.api_keys
WHERE key_id = $1;

-- name: insert_api_key
INSERT INTO credits.api_keys (key_id, key_hash, tenant_id, scopes, expires_at, rate_limit)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key_id) DO NOTHING
RETURNING key_id;

-- name: update_api_key
UPDATE credits.api_keys
SET scopes = $2, expires_at = $3, rate_limit = $4
WHERE key_id = $1 AND revoked_at IS NULL
RETURNING key_id;

-- name: revoke_api_key
UPDATE credits.api_keys
SET revoked_at = now()
WHERE key_id = $1 AND revoked_at IS NULL
RETURNING key_id;

-- name: maintain_idempotency
SELECT o_created AS created, o_dropped AS dropped
FROM credits.maintain_idempotency($1);

-- name: partition_of_today
SELECT to_regclass('credits.idempotency_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL AS present;
