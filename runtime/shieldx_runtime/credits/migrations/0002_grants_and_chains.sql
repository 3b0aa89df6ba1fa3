-- Grants that expire, holds, an audit chain for each writer, and consumes decided by the batch.
--
-- Expand only: the release before calls credits.move, which keeps its signature and gets the new meaning in 0003.

-- ---------------------------------------------------------------- tables

ALTER TABLE credits.accounts
    ADD COLUMN total_refunded bigint NOT NULL DEFAULT 0 CHECK (total_refunded >= 0),
    ADD COLUMN total_expired  bigint NOT NULL DEFAULT 0 CHECK (total_expired >= 0),
    ADD COLUMN next_event_at  timestamptz;
COMMENT ON COLUMN credits.accounts.total_spent IS 'consumes and commits less refunds';
COMMENT ON COLUMN credits.accounts.next_event_at IS 'when the next grant or hold expires: credits.settle is due then';

DO $$
DECLARE
    v_name text;
BEGIN
    -- unnamed in 0001: the sum of three columns, and the form of the id, which would be looked at in each update
    FOR v_name IN
        SELECT c.conname FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attname = 'tenant_id'
        WHERE c.conrelid = 'credits.accounts'::regclass AND c.contype = 'c'
          AND (cardinality(c.conkey) = 3 OR c.conkey = ARRAY[a.attnum])
    LOOP
        EXECUTE format('ALTER TABLE credits.accounts DROP CONSTRAINT %I', v_name);
    END LOOP;
    -- a lookup for each row; accounts are never deleted, and every entry is written under its account's lock
    FOR v_name IN SELECT conname FROM pg_constraint WHERE conrelid = 'credits.ledger'::regclass AND contype = 'f' LOOP
        EXECUTE format('ALTER TABLE credits.ledger DROP CONSTRAINT %I', v_name);
    END LOOP;
END
$$;
ALTER TABLE credits.accounts
    ADD CONSTRAINT accounts_add_up CHECK (balance = total_purchased - total_spent - total_expired);
CREATE FUNCTION credits.check_tenant_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is no id of a tenant', NEW.tenant_id USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER accounts_tenant_id BEFORE INSERT ON credits.accounts FOR EACH ROW
WHEN (NEW.tenant_id !~ '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$')
EXECUTE FUNCTION credits.check_tenant_id();
CREATE INDEX accounts_due ON credits.accounts (next_event_at) WHERE next_event_at IS NOT NULL;

-- Amounts of every kind are positive; `credits.delta` says which way they go.
ALTER TABLE credits.ledger
    DROP CONSTRAINT ledger_kind_check,
    ADD CONSTRAINT ledger_kind CHECK (kind IN (
        'consume', 'purchase', 'refund', 'reserve', 'commit', 'cancel', 'release', 'expire')),
    ALTER COLUMN idempotency_key DROP NOT NULL,
    ADD COLUMN related_id      uuid,
    ADD COLUMN spent_after     bigint,
    ADD COLUMN reserved_after  bigint,
    ADD COLUMN purchased_after bigint,
    ADD COLUMN refunded_after  bigint,
    ADD COLUMN expired_after   bigint,
    ADD COLUMN chain_id        integer,
    ADD COLUMN chain_seq       bigint,
    ADD COLUMN chain_pos       smallint;
COMMENT ON COLUMN credits.ledger.related_id IS 'refund: what was consumed; commit, cancel, release: the reservation; expire: the grant';
COMMENT ON COLUMN credits.ledger.spent_after IS 'credits ever consumed, refunds not taken off: the place of the entry in credits.draws';
COMMENT ON COLUMN credits.ledger.reserved_after IS 'as the next three: null for a consume, which does not change it';
CREATE INDEX ledger_related ON credits.ledger (related_id) WHERE related_id IS NOT NULL;
CREATE INDEX ledger_turns ON credits.ledger (tenant_id, version) WHERE kind <> 'consume';

-- A lot of credits. What is spent is drawn from the lots late, by credits.settle, in the order of the index: until
-- then `remaining` of all lots together is more than what the account has available.
CREATE TABLE credits.grants (
    grant_id   uuid PRIMARY KEY,
    tenant_id  text NOT NULL,
    amount     bigint NOT NULL CHECK (amount >= 1),
    remaining  bigint NOT NULL CHECK (remaining >= 0),
    held       bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    priority   integer NOT NULL,
    expires_at timestamptz,
    source     text,
    reference  text,
    created_at timestamptz NOT NULL,
    CHECK (remaining + held <= amount)
) WITH (fillfactor = 70);
CREATE INDEX grants_in_order ON credits.grants (tenant_id, priority, expires_at, created_at, grant_id)
    WHERE remaining + held > 0;
CREATE INDEX grants_of_tenant ON credits.grants (tenant_id, created_at, grant_id);

-- Of which grant the credits spent_from (exclusive) to spent_to, counted as ledger.spent_after, were.
CREATE TABLE credits.draws (
    tenant_id  text NOT NULL,
    spent_from bigint NOT NULL,
    spent_to   bigint NOT NULL CHECK (spent_to > spent_from),
    grant_id   uuid NOT NULL,
    PRIMARY KEY (tenant_id, spent_to)
);

CREATE TABLE credits.holds (
    reservation_id uuid PRIMARY KEY,
    tenant_id      text NOT NULL,
    amount         bigint NOT NULL CHECK (amount >= 1),
    state          text NOT NULL CHECK (state IN ('held', 'committed', 'cancelled', 'expired')),
    committed      bigint NOT NULL DEFAULT 0 CHECK (committed BETWEEN 0 AND amount),
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX holds_open ON credits.holds (tenant_id, expires_at) WHERE state = 'held';

CREATE TABLE credits.hold_lots (
    reservation_id uuid NOT NULL,
    place          integer NOT NULL,
    grant_id       uuid NOT NULL,
    amount         bigint NOT NULL CHECK (amount >= 1),
    PRIMARY KEY (reservation_id, place)
);

-- One chain for each writer at work; a link for each transaction. hash = SHA-256(hash before || leaves), and a leaf is
-- SHA-256(0x00 || entry): RFC 6962's hash of a leaf, so that the same leaves make the tree.
CREATE TABLE credits.chain_heads (
    chain_id integer PRIMARY KEY,
    seq      bigint NOT NULL DEFAULT 0,
    hash     bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32)
) WITH (fillfactor = 10);
CREATE SEQUENCE credits.chain_ids START 9;
INSERT INTO credits.chain_heads (chain_id) SELECT generate_series(1, 8);

CREATE TABLE credits.chain_links (
    chain_id   integer NOT NULL,
    seq        bigint NOT NULL,
    leaves     bytea NOT NULL CHECK (length(leaves) % 32 = 0),
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (chain_id, seq)
);
-- hashes cannot be compressed
ALTER TABLE credits.chain_links ALTER COLUMN leaves SET STORAGE EXTERNAL;

-- What an account has now becomes its first grant.
INSERT INTO credits.grants (grant_id, tenant_id, amount, remaining, priority, source, created_at)
SELECT gen_random_uuid(), tenant_id, balance - reserved_funds, balance - reserved_funds, 100, 'opening', now()
FROM credits.accounts
WHERE balance > reserved_funds;

-- ---------------------------------------------------------------- entries and their chain

-- What is hashed of an entry. No field before the texts can hold a bar; the texts are JSON, where none is left bare.
CREATE FUNCTION credits.entry(
    p_tenant_id text, p_version bigint, p_kind text, p_amount bigint, p_balance bigint, p_transaction_id uuid,
    p_idempotency_key uuid, p_key_id text, p_related_id uuid, p_created_at text, p_description text,
    p_reference text, p_source text)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '2|' || p_tenant_id || '|' || p_version || '|' || p_kind || '|' || p_amount || '|' || p_balance || '|'
        || p_transaction_id || '|' || coalesce(p_idempotency_key::text, '') || '|' || p_key_id || '|'
        || coalesce(p_related_id::text, '') || '|' || p_created_at || '|'
        || coalesce(to_json(p_description)::text, '') || '|' || coalesce(to_json(p_reference)::text, '') || '|'
        || coalesce(to_json(p_source)::text, '')
$$;

CREATE FUNCTION credits.leaf(p_entry text) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256('\x00'::bytea || convert_to(p_entry, 'UTF8'))
$$;

CREATE FUNCTION credits.moment(p_time timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- A UUID of version 7: ids grow with time, so that their index grows at one end.
CREATE FUNCTION credits.new_id(p_time timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(
        substring(int8send((extract(epoch FROM p_time) * 1000)::bigint) FROM 3) || '\x70'::bytea
        || substring(uuid_send(gen_random_uuid()) FROM 8), 'hex')::uuid
$$;

-- How the balance changes by an entry.
CREATE FUNCTION credits.delta(p_kind text, p_amount bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_kind IN ('purchase', 'refund') THEN p_amount
        WHEN p_kind IN ('consume', 'commit', 'expire') THEN -p_amount
        ELSE 0
    END
$$;
