-- What an export reads. It writes nothing. `-- name:` begins a statement.

-- name: one_snapshot
-- Plans for few rows at a time: a scan of a large ledger for each link would never end.
SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true);

-- name: ledger_id
SELECT ledger_id FROM credits.tree;

-- name: segments
SELECT first_index, leaves, chain_id, first_seq, last_seq
FROM credits.tree_segments
ORDER BY first_index;

-- name: checkpoints
SELECT size, note
FROM credits.checkpoints
ORDER BY size;

-- name: links
-- The links $2 to $3 of chain $1, each with what the ledger has of it. An entry's id begins with the milliseconds of its
-- time, which is its link's: so the index on ids finds it, and the ledger needs none for the chains.
SELECT l.seq, l.leaves, l.hash, e.positions, e.entries
FROM credits.chain_links l
CROSS JOIN LATERAL (
    SELECT substring(int8send((extract(epoch FROM l.created_at) * 1000)::bigint) FROM 3) AS prefix) AS t
CROSS JOIN LATERAL (
    SELECT array_agg(r.chain_pos) AS positions,
           array_agg(credits.entry(
               r.tenant_id, r.version, r.kind, r.amount, r.balance_after, r.transaction_id, r.idempotency_key,
               r.key_id, r.related_id, credits.moment(r.created_at), r.description, r.reference, r.source)) AS entries
    FROM credits.ledger r
    WHERE r.transaction_id >= encode(t.prefix || decode(repeat('00', 10), 'hex'), 'hex')::uuid
      AND r.transaction_id <= encode(t.prefix || decode(repeat('ff', 10), 'hex'), 'hex')::uuid
      AND r.chain_id = l.chain_id AND r.chain_seq = l.seq) AS e
WHERE l.chain_id = $1 AND l.seq BETWEEN $2 AND $3
ORDER BY l.seq;

-- name: events
SELECT seq, credits.leaf(entry) AS leaves, hash, ARRAY[0::smallint] AS positions, ARRAY[entry] AS entries
FROM credits.events
WHERE chain_id = $1 AND seq BETWEEN $2 AND $3
ORDER BY seq;

-- name: ends
-- Where the chains end, and how far each is in the tree.
SELECT h.chain_id, h.seq, h.hash, coalesce(t.seq, 0) AS sealed_seq
FROM (SELECT chain_id, seq, hash FROM credits.chain_heads
      UNION ALL SELECT chain_id, seq, hash FROM credits.event_heads) AS h
LEFT JOIN credits.tree_chains t USING (chain_id)
ORDER BY h.chain_id;
