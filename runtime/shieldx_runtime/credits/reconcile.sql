-- One tenant's account, recomputed out of its ledger. Each statement sees one snapshot.

-- name: tenant
-- A row for each thing that does not agree: its name, what the account or entry says, what the recomputation says.
WITH account AS (
    SELECT * FROM credits.accounts WHERE tenant_id = $1
), entries AS (
    SELECT count(*) AS entries, coalesce(max(version), 0) AS last_version,
           coalesce(sum(credits.delta(kind, amount)), 0) AS balance,
           coalesce(sum(amount) FILTER (WHERE kind = 'purchase'), 0) AS purchased,
           coalesce(sum(amount) FILTER (WHERE kind IN ('consume', 'commit')), 0)
               - coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS spent
    FROM credits.ledger WHERE tenant_id = $1
), lots AS (
    SELECT coalesce(sum(held), 0) AS held, coalesce(sum(remaining), 0) AS remaining
    FROM credits.grants WHERE tenant_id = $1
), holds AS (
    SELECT coalesce(sum(amount), 0) AS held FROM credits.holds WHERE tenant_id = $1 AND state = 'held'
), wrong_running AS (
    SELECT version, balance_after, running
    FROM (SELECT version, balance_after, sum(credits.delta(kind, amount)) OVER (ORDER BY version) AS running,
                 row_number() OVER (ORDER BY version) AS number
          FROM credits.ledger WHERE tenant_id = $1) AS e
    WHERE balance_after <> running OR version <> number
    ORDER BY version LIMIT 1
), wrong_leaf AS (
    SELECT e.version
    FROM credits.ledger e
    LEFT JOIN credits.chain_links l ON l.chain_id = e.chain_id AND l.seq = e.chain_seq
    WHERE e.tenant_id = $1 AND e.chain_id IS NOT NULL
      AND substring(l.leaves FROM e.chain_pos * 32 + 1 FOR 32) IS DISTINCT FROM credits.leaf(credits.entry(
          e.tenant_id, e.version, e.kind, e.amount, e.balance_after, e.transaction_id, e.idempotency_key, e.key_id,
          e.related_id, credits.moment(e.created_at), e.description, e.reference, e.source))
    ORDER BY e.version LIMIT 1
)
SELECT d.what, d.found, d.expected
FROM account a, entries e, lots l, holds h
CROSS JOIN LATERAL (VALUES
    ('account: balance', a.balance::text, e.balance::text),
    ('account: total_spent', a.total_spent::text, e.spent::text),
    ('account: total_purchased', a.total_purchased::text, e.purchased::text),
    ('account: version', a.version::text, e.entries::text),
    ('account: reserved_funds', a.reserved_funds::text, h.held::text),
    ('grants: held', l.held::text, h.held::text),
    ('grants: remaining, at least', least(l.remaining, a.balance - a.reserved_funds)::text,
     (a.balance - a.reserved_funds)::text)
) AS d (what, found, expected)
WHERE d.found <> d.expected
UNION ALL
SELECT 'ledger: balance_after of entry ' || version, balance_after::text, running::text FROM wrong_running
UNION ALL
SELECT 'audit: leaf of entry ' || version, 'another', 'the one of the entry' FROM wrong_leaf;

-- name: tenants
SELECT tenant_id FROM credits.accounts WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2;
