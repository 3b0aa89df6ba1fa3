-- A Merkle tree over all audit chains, signed checkpoints, accesses to personal data, and the keys of tenants' texts.
--
-- Expand only: nothing of the release before is touched.

-- ---------------------------------------------------------------- events

-- What is in the audit log and is no movement of credits. Chain 0: accesses to personal data. Chain -1: what stood in
-- the chains of tenants (credits.audit) before there were chains of writers. One entry a link:
-- hash = SHA-256(hash before || leaf), leaf = credits.leaf(entry), as in credits.chain_links.
CREATE TABLE credits.event_heads (
    chain_id integer PRIMARY KEY CHECK (chain_id IN (-1, 0)),
    seq      bigint NOT NULL DEFAULT 0,
    hash     bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32)
);
INSERT INTO credits.event_heads (chain_id) VALUES (-1), (0);

CREATE TABLE credits.events (
    chain_id   integer NOT NULL,
    seq        bigint NOT NULL,
    subject    text,
    entry      text NOT NULL,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chain_id, seq)
);
COMMENT ON COLUMN credits.events.subject IS 'the tenant whom it is about; null: none in particular';
CREATE INDEX events_of_subject ON credits.events (subject, chain_id, seq);

-- Appends one event. The lock on the head keeps them in one order.
CREATE FUNCTION credits.record_event(p_chain_id integer, p_subject text, p_entry text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_head credits.event_heads%ROWTYPE;
BEGIN
    UPDATE credits.event_heads SET seq = seq + 1, hash = sha256(hash || credits.leaf(p_entry))
    WHERE chain_id = p_chain_id RETURNING * INTO STRICT v_head;
    INSERT INTO credits.events (chain_id, seq, subject, entry, hash)
    VALUES (p_chain_id, v_head.seq, p_subject, p_entry, v_head.hash);
    RETURN v_head.seq;
END
$$;

SELECT count(credits.record_event(-1, tenant_id, entry))
FROM (SELECT tenant_id, entry FROM credits.audit ORDER BY tenant_id, version) AS former;

-- ---------------------------------------------------------------- the tree

CREATE TABLE credits.tree (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    ledger_id uuid NOT NULL DEFAULT gen_random_uuid(),
    size      bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    sealed_at timestamptz
);
COMMENT ON COLUMN credits.tree.ledger_id IS 'names this log in its checkpoints, whatever host it moves to';
INSERT INTO credits.tree DEFAULT VALUES;

-- How far each chain is in the tree, and its hash there.
CREATE TABLE credits.tree_chains (
    chain_id integer PRIMARY KEY,
    seq      bigint NOT NULL CHECK (seq > 0),
    hash     bytea NOT NULL CHECK (length(hash) = 32)
);

-- Up to 256 hashes of complete subtrees of 256^level leaves each: what proofs are made of.
CREATE TABLE credits.tree_tiles (
    level  smallint NOT NULL,
    number bigint NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, number)
);
ALTER TABLE credits.tree_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Which links stand where in the tree: the leaves of links first_seq to last_seq of a chain, from first_index on.
CREATE TABLE credits.tree_segments (
    first_index bigint PRIMARY KEY,
    leaves      integer NOT NULL CHECK (leaves > 0),
    chain_id    integer NOT NULL,
    first_seq   bigint NOT NULL,
    last_seq    bigint NOT NULL CHECK (last_seq >= first_seq)
);
CREATE UNIQUE INDEX tree_segments_of_chain ON credits.tree_segments (chain_id, last_seq);

CREATE TABLE credits.checkpoints (
    size      bigint PRIMARY KEY CHECK (size > 0),
    note      text NOT NULL,
    signed_at timestamptz NOT NULL
);

-- Adds what was computed over a tree of p_old_size leaves; false where somebody else has sealed since, or does now.
CREATE FUNCTION credits.seal(
    p_old_size bigint, p_new_size bigint, p_note text, p_signed_at timestamptz,
    p_levels smallint[], p_numbers bigint[], p_hashes bytea[],
    p_first_indices bigint[], p_leaves integer[], p_chain_ids integer[], p_first_seqs bigint[], p_last_seqs bigint[],
    p_last_hashes bytea[])
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('shieldx credits sealer', 0)) THEN
        RETURN false;
    END IF;
    UPDATE credits.tree SET size = p_new_size, sealed_at = p_signed_at WHERE size = p_old_size;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO credits.tree_tiles (level, number, hashes)
    SELECT * FROM unnest(p_levels, p_numbers, p_hashes)
    ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes;
    INSERT INTO credits.tree_segments (first_index, leaves, chain_id, first_seq, last_seq)
    SELECT * FROM unnest(p_first_indices, p_leaves, p_chain_ids, p_first_seqs, p_last_seqs);
    INSERT INTO credits.tree_chains (chain_id, seq, hash)
    SELECT * FROM unnest(p_chain_ids, p_last_seqs, p_last_hashes)
    ON CONFLICT (chain_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash;
    INSERT INTO credits.checkpoints (size, note, signed_at) VALUES (p_new_size, p_note, p_signed_at);
    RETURN true;
END
$$;

-- ---------------------------------------------------------------- keys of tenants' texts

-- A data key, wrapped by a master key that is not in the database. Destroying it makes unreadable what it sealed.
CREATE TABLE credits.tenant_keys (
    key_id       text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{16}$'),
    tenant_id    text NOT NULL,
    master_id    text NOT NULL,
    wrapped      bytea,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
CREATE INDEX tenant_keys_of_tenant ON credits.tenant_keys (tenant_id, created_at);
CREATE INDEX tenant_keys_by_master ON credits.tenant_keys (master_id) WHERE wrapped IS NOT NULL;

-- Destroys all keys of a tenant and records that it was done. o_known false: there is no such tenant, nothing was done.
CREATE FUNCTION credits.erase(p_tenant_id text, p_entry text, OUT o_known boolean, OUT o_destroyed bigint)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT count(*) > 0 INTO o_known FROM credits.accounts WHERE tenant_id = p_tenant_id;
    IF NOT o_known THEN
        RETURN;
    END IF;
    UPDATE credits.tenant_keys SET wrapped = NULL, destroyed_at = clock_timestamp()
    WHERE tenant_id = p_tenant_id AND wrapped IS NOT NULL;
    GET DIAGNOSTICS o_destroyed = ROW_COUNT;
    PERFORM credits.record_event(0, p_tenant_id, p_entry);
END
$$;
