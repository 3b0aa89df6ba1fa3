-- What the sealer sends. `-- name:` begins a statement.

-- name: tree
SELECT ledger_id, size, extract(epoch FROM clock_timestamp() - sealed_at)::float8 AS age_s
FROM credits.tree;

-- name: chains
SELECT chain_id, seq, hash
FROM credits.tree_chains;

-- name: edge
SELECT t.level, t.hashes
FROM unnest($1::smallint[], $2::bigint[]) AS e (level, number)
JOIN credits.tree_tiles t USING (level, number);

-- name: unsealed
-- At most $1 links of each chain that follow what is in the tree, at most $2 in all, and none after $3 bytes of leaves:
-- the lengths are known without reading the leaves.
SELECT chain_id, seq, leaves, hash
FROM (
    SELECT u.*, sum(octet_length(leaves)) OVER (ORDER BY chain_id, seq) - octet_length(leaves) AS bytes_before
    FROM (
        SELECT c.chain_id, l.seq, l.leaves, l.hash
        FROM (
            SELECT h.chain_id, coalesce(t.seq, 0) AS seq
            FROM credits.chain_heads h LEFT JOIN credits.tree_chains t USING (chain_id)
            WHERE h.seq > coalesce(t.seq, 0)
        ) AS c
        CROSS JOIN LATERAL (
            SELECT seq, leaves, hash FROM credits.chain_links
            WHERE chain_id = c.chain_id AND seq > c.seq ORDER BY seq LIMIT $1) AS l
        UNION ALL
        SELECT c.chain_id, l.seq, l.leaf, l.hash
        FROM (
            SELECT h.chain_id, coalesce(t.seq, 0) AS seq
            FROM credits.event_heads h LEFT JOIN credits.tree_chains t USING (chain_id)
            WHERE h.seq > coalesce(t.seq, 0)
        ) AS c
        CROSS JOIN LATERAL (
            SELECT seq, credits.leaf(entry) AS leaf, hash FROM credits.events
            WHERE chain_id = c.chain_id AND seq > c.seq ORDER BY seq LIMIT $1) AS l
    ) AS u
) AS ordered
WHERE bytes_before <= $3
ORDER BY chain_id, seq
LIMIT $2;

-- name: seal
SELECT credits.seal($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS sealed;
