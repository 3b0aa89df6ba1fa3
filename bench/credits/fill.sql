SET synchronous_commit = off;
INSERT INTO credits.ledger (
    transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key, key_id, description, reference,
    created_at, spent_after, chain_id, chain_seq, chain_pos)
SELECT credits.new_id(now() - interval '1 day'), 'org-' || to_char(t, 'FM00000'), -v, 'consume', 1, 1,
       gen_random_uuid(), '0123456789abcdef', 'sxe1.0123456789abcdef.' || repeat('A', 68),
       'sxe1.0123456789abcdef.' || repeat('A', 68), now() - interval '1 day', 1, 2000, v, 0
FROM generate_series(0, <tenants> - 1) t, generate_series(<first>, <last>) v;
INSERT INTO credits.idempotency (
    tenant_id, idempotency_key, day, request_hash, outcome, transaction_id, balance, available)
SELECT 'org-' || to_char(t, 'FM00000'), gen_random_uuid(), (now() AT TIME ZONE 'UTC')::date,
       sha256('consume'), 'done', gen_random_uuid(), 1, 1
FROM generate_series(0, <tenants> - 1) t, generate_series(<first>, <last>) v;
