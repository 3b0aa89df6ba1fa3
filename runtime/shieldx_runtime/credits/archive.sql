-- What a backup reads of the ledger beyond pg_dump, and how it writes it back. Names in <> are filled in from the catalog.

-- name: tables
-- Every table of the schema but partitions and the record of migrations, with its primary key.
SELECT c.relname AS name, c.relkind = 'p' AS partitioned,
       coalesce((SELECT array_agg(a.attname ORDER BY array_position(i.indkey::int2[], a.attnum))
                 FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                 WHERE i.indrelid = c.oid AND i.indisprimary), '{}') AS key_columns,
       coalesce((SELECT array_agg(DISTINCT f.relname)
                 FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
                 WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid), '{}') AS refers_to
FROM pg_class c
WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> 'schema_migrations'
ORDER BY c.relname;

-- name: heads
-- The number of the last entry of each group that has one: a look into the index for each group.
SELECT g.<group>::text AS key, last.number
FROM credits.<groups> g
CROSS JOIN LATERAL (SELECT max(r.<number>) AS number FROM credits.<table> r WHERE r.<group> = g.<group>) last
WHERE last.number IS NOT NULL;

-- name: entries_after
-- From each group's last known entry on, that one included, in order.
SELECT r.<group>::text AS key, r.<number> AS number, md5(r::text) AS token, to_jsonb(r)::text AS row
FROM unnest($1::text[], $2::bigint[]) AS known (key, number)
JOIN credits.<table> r ON r.<group> = known.key::<group_type> AND r.<number> >= known.number
ORDER BY r.<group>, r.<number>;

-- name: answers_to
-- What the keys of these ledger entries were answered: a retry after a restore must not charge again.
SELECT to_jsonb(i)::text AS row
FROM unnest($1::text[], $2::uuid[]) AS done (tenant_id, idempotency_key)
JOIN credits.idempotency i USING (tenant_id, idempotency_key)
WHERE i.day >= (now() AT TIME ZONE 'UTC')::date - 1;

-- name: tokens
SELECT jsonb_build_array(<key>)::text AS key, md5(r::text) AS token FROM credits.<table> r;

-- name: rows_of
SELECT jsonb_build_array(<key>)::text AS key, to_jsonb(r)::text AS row
FROM credits.<table> r
WHERE jsonb_build_array(<key>)::text = ANY ($1::text[]);

-- name: append
INSERT INTO credits.<table> (<columns>)
SELECT <columns> FROM jsonb_populate_recordset(NULL::credits.<table>, $1::jsonb)
ON CONFLICT DO NOTHING;

-- name: answer
-- Only what still counts, and for which maintenance keeps a partition.
INSERT INTO credits.idempotency (<columns>)
SELECT <columns> FROM jsonb_populate_recordset(NULL::credits.idempotency, $1::jsonb) AS r
WHERE r.day >= (now() AT TIME ZONE 'UTC')::date - 1
ON CONFLICT DO NOTHING;

-- name: upsert
INSERT INTO credits.<table> (<columns>)
SELECT <columns> FROM jsonb_populate_recordset(NULL::credits.<table>, $1::jsonb)
ON CONFLICT (<key_columns>) DO UPDATE SET <assignments>;

-- name: remove
DELETE FROM credits.<table> r WHERE jsonb_build_array(<key>)::text = ANY ($1::text[]);

-- name: maintain
SELECT FROM credits.maintain_idempotency(7);

-- name: sequences
SELECT a.attname AS column, c.relname AS table, pg_get_serial_sequence('credits.' || quote_ident(c.relname), a.attname) AS sequence
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'credits'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_get_serial_sequence('credits.' || quote_ident(c.relname), a.attname) IS NOT NULL;

-- name: advance_sequence
SELECT setval($1::text::regclass, greatest((SELECT coalesce(max("<column>"), 0) FROM credits.<table>), 1));
