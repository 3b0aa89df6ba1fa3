-- Keys of tenants' texts, accesses to personal data, and what a tenant is given of its data. `-- name:` begins one.

-- name: keys_in_use
-- The newest usable key of each tenant that is younger than $2 seconds.
SELECT DISTINCT ON (tenant_id) tenant_id, key_id, master_id, wrapped
FROM credits.tenant_keys
WHERE tenant_id = ANY ($1::text[]) AND wrapped IS NOT NULL
  AND created_at > clock_timestamp() - make_interval(secs => $2::float8)
ORDER BY tenant_id, created_at DESC, key_id;

-- name: add_keys
-- For tenants that exist: a wrong id in a request must not leave a row.
INSERT INTO credits.tenant_keys (key_id, tenant_id, master_id, wrapped)
SELECT k.key_id, k.tenant_id, k.master_id, k.wrapped
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS k (key_id, tenant_id, master_id, wrapped)
WHERE EXISTS (SELECT FROM credits.accounts a WHERE a.tenant_id = k.tenant_id)
RETURNING key_id;

-- name: keys_of_texts
SELECT key_id, master_id, wrapped
FROM credits.tenant_keys
WHERE tenant_id = $1 AND key_id = ANY ($2::text[]);

-- name: keys_under_other_masters
-- Under masters that are still there: what cannot be unwrapped must not stand in the way of the rest.
SELECT key_id, tenant_id, master_id, wrapped
FROM credits.tenant_keys
WHERE wrapped IS NOT NULL AND master_id = ANY ($1::text[])
ORDER BY master_id, key_id
LIMIT $2;

-- name: rewrap
-- Only a key that is still what was unwrapped: a destroyed one stays destroyed.
UPDATE credits.tenant_keys t SET master_id = $1, wrapped = n.wrapped
FROM unnest($2::text[], $3::bytea[], $4::bytea[]) AS n (key_id, was, wrapped)
WHERE t.key_id = n.key_id AND t.wrapped = n.was
RETURNING t.key_id;

-- name: masters_in_use
SELECT master_id, count(*) AS keys
FROM credits.tenant_keys
WHERE wrapped IS NOT NULL
GROUP BY master_id
ORDER BY master_id;

-- name: record_access
SELECT credits.record_event(0, $1, $2) AS seq;

-- name: erase
SELECT o_known AS known, o_destroyed AS destroyed FROM credits.erase($1, $2);

-- name: plain_texts
SELECT count(*) AS found
FROM (
    SELECT FROM credits.ledger
    WHERE tenant_id = $1
      AND ((description IS NOT NULL AND description NOT LIKE 'sxe1.%')
           OR (reference IS NOT NULL AND reference NOT LIKE 'sxe1.%'))
    LIMIT $2
) AS plain;

-- name: export_account
SELECT tenant_id AS position, tenant_id, balance, reserved_funds, total_spent, total_purchased, total_refunded,
       total_expired, version, created_at
FROM credits.accounts
WHERE tenant_id = $1 AND $2::text = '' AND $3::integer > 0;

-- name: export_alerts
SELECT tenant_id AS position, thresholds, webhook_url, secret_version, updated_at
FROM credits.alert_rules
WHERE tenant_id = $1 AND $2::text = '' AND $3::integer > 0;

-- name: export_grants
SELECT to_char(g.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || g.grant_id AS position,
       g.grant_id, g.amount, g.remaining, g.held, g.priority, g.expires_at, g.source, g.reference, g.created_at,
       l.idempotency_key
FROM credits.grants g
LEFT JOIN credits.ledger l ON l.transaction_id = g.grant_id AND l.tenant_id = g.tenant_id
WHERE g.tenant_id = $1
  AND ($2::text = ''
       OR (g.created_at, g.grant_id)
          > (nullif(split_part($2, ' ', 1), '')::timestamptz, nullif(split_part($2, ' ', 2), '')::uuid))
ORDER BY g.created_at, g.grant_id
LIMIT $3;

-- name: export_transactions
SELECT version::text AS position, transaction_id, version, kind, amount, balance_after, idempotency_key, key_id,
       related_id, description, reference, source, created_at
FROM credits.ledger
WHERE tenant_id = $1 AND version > coalesce(nullif($2::text, '')::bigint, 0)
ORDER BY version
LIMIT $3;

-- name: export_keys
SELECT key_id AS position, key_id, scopes, expires_at, created_at, revoked_at
FROM credits.api_keys
WHERE tenant_id = $1 AND key_id > $2
ORDER BY key_id
LIMIT $3;

-- name: export_accesses
SELECT seq::text AS position, seq, entry, created_at
FROM credits.events
WHERE subject = $1 AND chain_id = 0 AND seq > coalesce(nullif($2::text, '')::bigint, 0)
ORDER BY seq
LIMIT $3;
