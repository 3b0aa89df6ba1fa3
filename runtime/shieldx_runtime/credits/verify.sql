-- Whether the books add up. Each statement gives one line a fault and nothing where all is well.

-- name: sums
SELECT format('tenant %s: balance %s, spent %s, purchased %s and version %s; its ledger says %s, %s, %s and %s',
              a.tenant_id, a.balance, a.total_spent, a.total_purchased, a.version,
              coalesce(l.balance, 0), coalesce(l.spent, 0), coalesce(l.purchased, 0), coalesce(l.entries, 0)) AS problem
FROM credits.accounts a
LEFT JOIN (
    SELECT tenant_id, count(*) AS entries, sum(credits.delta(kind, amount)) AS balance,
           sum(amount) FILTER (WHERE kind = 'purchase') AS purchased,
           coalesce(sum(amount) FILTER (WHERE kind IN ('consume', 'commit')), 0)
               - coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS spent
    FROM credits.ledger
    GROUP BY tenant_id
) l USING (tenant_id)
WHERE a.total_spent <> coalesce(l.spent, 0) OR a.total_purchased <> coalesce(l.purchased, 0)
   OR a.balance <> coalesce(l.balance, 0) OR a.version <> coalesce(l.entries, 0)
ORDER BY a.tenant_id
LIMIT $1;

-- name: reserved
SELECT format('tenant %s: %s are reserved, its open holds say %s and its grants %s',
              a.tenant_id, a.reserved_funds, coalesce(h.amount, 0), coalesce(g.held, 0)) AS problem
FROM credits.accounts a
LEFT JOIN (SELECT tenant_id, sum(amount) AS amount FROM credits.holds WHERE state = 'held' GROUP BY tenant_id) h
    USING (tenant_id)
LEFT JOIN (SELECT tenant_id, sum(held) AS held FROM credits.grants GROUP BY tenant_id) g USING (tenant_id)
WHERE a.reserved_funds <> coalesce(h.amount, 0) OR a.reserved_funds <> coalesce(g.held, 0)
ORDER BY a.tenant_id
LIMIT $1;

-- name: running_balances
SELECT format('tenant %s: entry %s leaves %s, the entries up to it leave %s', tenant_id, version, balance_after, running)
    AS problem
FROM (
    SELECT tenant_id, version, balance_after, sum(credits.delta(kind, amount)) OVER w AS running,
           row_number() OVER w AS number
    FROM credits.ledger
    WINDOW w AS (PARTITION BY tenant_id ORDER BY version)
) AS entries
WHERE balance_after <> running OR version <> number
ORDER BY tenant_id, version
LIMIT $1;

-- name: totals
SELECT format('tenant %s: %s were refunded and %s expired; its ledger says %s and %s', a.tenant_id, a.total_refunded,
              a.total_expired, coalesce(l.refunded, 0), coalesce(l.expired, 0)) AS problem
FROM credits.accounts a
LEFT JOIN (
    SELECT tenant_id, sum(amount) FILTER (WHERE kind = 'refund') AS refunded,
           sum(amount) FILTER (WHERE kind = 'expire') AS expired
    FROM credits.ledger
    GROUP BY tenant_id
) l USING (tenant_id)
WHERE a.total_refunded <> coalesce(l.refunded, 0) OR a.total_expired <> coalesce(l.expired, 0)
ORDER BY a.tenant_id
LIMIT $1;

-- name: running_totals
-- What entries say of the account after them; a consume leaves out what it does not change.
SELECT format('tenant %s: entry %s does not have the totals of the entries up to it', tenant_id, version) AS problem
FROM (
    SELECT e.tenant_id, e.version, e.kind, e.chain_id, e.spent_after, e.reserved_after, e.purchased_after,
           e.refunded_after, e.expired_after,
           sum(CASE WHEN e.kind IN ('consume', 'commit') THEN e.amount ELSE 0 END) OVER w AS spent,
           sum(CASE e.kind WHEN 'purchase' THEN e.amount ELSE 0 END) OVER w AS purchased,
           sum(CASE e.kind WHEN 'refund' THEN e.amount ELSE 0 END) OVER w AS refunded,
           sum(CASE e.kind WHEN 'expire' THEN e.amount ELSE 0 END) OVER w AS expired,
           sum(CASE WHEN e.kind = 'reserve' THEN e.amount ELSE -coalesce(h.amount, 0) END) FILTER (
               WHERE e.kind IN ('reserve', 'commit', 'cancel', 'release')) OVER w AS reserved
    FROM credits.ledger e
    LEFT JOIN credits.holds h ON h.reservation_id = e.related_id
    WINDOW w AS (PARTITION BY e.tenant_id ORDER BY e.version)
) AS entries
-- spent_after says to which grants a refund goes, and no hash has it; the first release left it out
WHERE spent_after <> spent
   OR (chain_id IS NOT NULL
       AND CASE kind
           WHEN 'consume' THEN coalesce(reserved_after, purchased_after, refunded_after, expired_after) IS NOT NULL
           ELSE (reserved_after, purchased_after, refunded_after, expired_after)
                IS DISTINCT FROM (coalesce(reserved, 0)::bigint, purchased::bigint, refunded::bigint, expired::bigint)
           END)
ORDER BY tenant_id, version
LIMIT $1;

-- name: former
-- Entries from before there were chains of writers stand in event chain -1, as they were hashed then.
SELECT format('tenant %s: entry %s of the ledger and event chain -1 do not say the same',
              coalesce(e.tenant_id, v.subject), e.version) AS problem
FROM (
    SELECT tenant_id, version, json_build_array(
               1, tenant_id, version, kind, amount, balance_after, transaction_id, idempotency_key, key_id, description,
               reference, source, credits.moment(created_at))::text AS entry
    FROM credits.ledger
    WHERE chain_id IS NULL
) AS e
FULL JOIN (SELECT subject, entry, true AS found FROM credits.events WHERE chain_id = -1) AS v USING (entry)
WHERE e.version IS NULL OR v.found IS NULL
ORDER BY 1
LIMIT $1;

-- name: tree
SELECT problem
FROM (
    SELECT format('the checkpoint of %s entries is one of %s', size, split_part(note, chr(10), 2)) AS problem
    FROM credits.checkpoints
    WHERE size::text <> split_part(note, chr(10), 2)
    UNION ALL
    SELECT format('the audit tree has %s entries, its parts have %s, and its last checkpoint %s', t.size, s.leaves, c.size)
    FROM credits.tree t,
         (SELECT coalesce(sum(leaves), 0) AS leaves FROM credits.tree_segments) AS s,
         (SELECT coalesce(max(size), 0) AS size FROM credits.checkpoints) AS c
    WHERE t.size <> s.leaves OR t.size <> c.size
) AS problems
LIMIT $1;

-- name: links
SELECT format('audit chain %s breaks at link %s', chain_id, seq) AS problem
FROM (
    SELECT chain_id, seq, hash, leaves, lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER w AS previous,
           row_number() OVER w AS number
    FROM credits.chain_links
    WINDOW w AS (PARTITION BY chain_id ORDER BY seq)
) AS links
WHERE hash <> sha256(previous || leaves) OR seq <> number
ORDER BY chain_id, seq
LIMIT $1;

-- name: link_ends
SELECT format('audit chain %s ends at link %s, its links end otherwise', h.chain_id, h.seq) AS problem
FROM credits.chain_heads h
LEFT JOIN credits.chain_links l ON l.chain_id = h.chain_id AND l.seq = h.seq
WHERE h.hash <> coalesce(l.hash, decode(repeat('00', 32), 'hex')) OR (h.seq > 0) <> (l.seq IS NOT NULL)
   OR EXISTS (SELECT FROM credits.chain_links later WHERE later.chain_id = h.chain_id AND later.seq > h.seq)
ORDER BY h.chain_id
LIMIT $1;

-- name: events
SELECT format('event chain %s breaks at event %s', chain_id, seq) AS problem
FROM (
    SELECT chain_id, seq, hash, entry, lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER w AS previous,
           row_number() OVER w AS number
    FROM credits.events
    WINDOW w AS (PARTITION BY chain_id ORDER BY seq)
) AS events
WHERE hash <> sha256(previous || credits.leaf(entry)) OR seq <> number
ORDER BY chain_id, seq
LIMIT $1;

-- name: event_ends
SELECT format('event chain %s ends at event %s, its events end otherwise', h.chain_id, h.seq) AS problem
FROM credits.event_heads h
LEFT JOIN credits.events e ON e.chain_id = h.chain_id AND e.seq = h.seq
WHERE h.hash <> coalesce(e.hash, decode(repeat('00', 32), 'hex')) OR (h.seq > 0) <> (e.seq IS NOT NULL)
   OR EXISTS (SELECT FROM credits.events later WHERE later.chain_id = h.chain_id AND later.seq > h.seq)
ORDER BY h.chain_id
LIMIT $1;

-- name: leaves
SELECT format('tenant %s: entry %s of the ledger is not what the audit chain %s says', e.tenant_id, e.version, e.chain_id)
    AS problem
FROM credits.ledger e
LEFT JOIN credits.chain_links l ON l.chain_id = e.chain_id AND l.seq = e.chain_seq
WHERE e.chain_id IS NOT NULL
  AND substring(l.leaves FROM e.chain_pos * 32 + 1 FOR 32) IS DISTINCT FROM credits.leaf(credits.entry(
      e.tenant_id, e.version, e.kind, e.amount, e.balance_after, e.transaction_id, e.idempotency_key, e.key_id,
      e.related_id, credits.moment(e.created_at), e.description, e.reference, e.source))
ORDER BY e.tenant_id, e.version
LIMIT $1;

-- name: leaves_without_entries
SELECT format('audit chain %s: link %s has %s leaves, the ledger has %s of its entries',
              l.chain_id, l.seq, length(l.leaves) / 32, count(e.tenant_id)) AS problem
FROM credits.chain_links l
LEFT JOIN credits.ledger e ON e.chain_id = l.chain_id AND e.chain_seq = l.seq
GROUP BY l.chain_id, l.seq
HAVING count(e.tenant_id) <> length(l.leaves) / 32
ORDER BY l.chain_id, l.seq
LIMIT $1;

-- name: checkpoint
SELECT (SELECT count(*) FROM credits.chain_heads) AS chains,
       (SELECT coalesce(sum(version), 0)::bigint FROM credits.accounts) AS entries,
       encode(sha256(
           coalesce((SELECT string_agg(convert_to(chain_id || ' ' || seq || ' ', 'UTF8') || hash, ''::bytea
                                       ORDER BY chain_id) FROM credits.chain_heads), ''::bytea)
           || coalesce((SELECT string_agg(convert_to(tenant_id || ' ' || version || ' ' || balance || chr(10), 'UTF8'),
                                          ''::bytea ORDER BY tenant_id) FROM credits.accounts), ''::bytea)), 'hex')
           AS root;
