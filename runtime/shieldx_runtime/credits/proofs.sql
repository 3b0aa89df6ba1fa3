-- What the proofs are made of. `-- name:` begins a statement.

-- name: checkpoint
-- The newest.
SELECT size, note FROM credits.checkpoints ORDER BY size DESC LIMIT 1;

-- name: tiles
SELECT t.level, t.number, t.hashes
FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, number)
JOIN credits.tree_tiles t USING (level, number);

-- name: entry
-- An entry of the ledger as it is hashed, and its place in the tree; leaf_index null: it is not in it yet.
SELECT r.tenant_id,
       credits.entry(r.tenant_id, r.version, r.kind, r.amount, r.balance_after, r.transaction_id, r.idempotency_key,
                     r.key_id, r.related_id, credits.moment(r.created_at), r.description, r.reference, r.source)
           AS entry,
       s.first_index + r.chain_pos + (
           SELECT coalesce(sum(octet_length(l.leaves) / 32), 0)::bigint FROM credits.chain_links l
           WHERE l.chain_id = s.chain_id AND l.seq >= s.first_seq AND l.seq < r.chain_seq) AS leaf_index
FROM credits.ledger r
LEFT JOIN LATERAL (
    SELECT first_index, chain_id, first_seq FROM credits.tree_segments
    WHERE chain_id = r.chain_id AND last_seq >= r.chain_seq ORDER BY last_seq LIMIT 1) AS s ON true
WHERE r.transaction_id = $1 AND r.chain_id IS NOT NULL;

-- name: former_entry
-- The same for an entry from before there were chains of writers: it stands in chain -1, by tenant and version.
SELECT r.tenant_id, e.entry, s.first_index + e.seq - s.first_seq AS leaf_index
FROM credits.ledger r
CROSS JOIN LATERAL (
    SELECT min(seq) + r.version - 1 AS seq FROM credits.events
    WHERE subject = r.tenant_id AND chain_id = -1) AS place
JOIN credits.events e ON e.chain_id = -1 AND e.seq = place.seq AND e.subject = r.tenant_id
LEFT JOIN LATERAL (
    SELECT first_index, first_seq FROM credits.tree_segments
    WHERE chain_id = -1 AND last_seq >= e.seq ORDER BY last_seq LIMIT 1) AS s ON true
WHERE r.transaction_id = $1 AND r.chain_id IS NULL;
