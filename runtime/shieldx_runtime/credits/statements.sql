-- Every statement that the service sends. `-- name:` begins one; the repository calls it by that name.

-- name: move
SELECT o_outcome AS outcome, o_replayed AS replayed, o_transaction_id AS transaction_id, o_balance AS balance,
       o_available AS available, o_reserved_funds AS reserved_funds, o_total_spent AS total_spent,
       o_total_purchased AS total_purchased, o_version AS version
FROM credits.move($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: account
SELECT tenant_id, balance, reserved_funds, total_spent, total_purchased, version
FROM credits.accounts
WHERE tenant_id = $1;

-- name: create_account
INSERT INTO credits.accounts (tenant_id)
VALUES ($1)
ON CONFLICT (tenant_id) DO NOTHING
RETURNING tenant_id, balance, reserved_funds, total_spent, total_purchased, version;

-- name: api_key
SELECT key_id, key_hash, tenant_id, scopes, expires_at, revoked_at
FROM credits.api_keys
WHERE key_id = $1;

-- name: insert_api_key
INSERT INTO credits.api_keys (key_id, key_hash, tenant_id, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key_id) DO NOTHING
RETURNING key_id;

-- name: update_api_key
UPDATE credits.api_keys
SET scopes = $2, expires_at = $3
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
