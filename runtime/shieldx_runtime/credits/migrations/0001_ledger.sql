-- Accounts, the ledger, its audit chain, idempotency records and API keys.

DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'the database has encoding %, the ledger needs UTF8: create it with ENCODING ''UTF8''',
            current_setting('server_encoding');
    END IF;
END
$$;

-- One row a tenant: what it has, and the end of its audit chain. Every movement locks it.
CREATE TABLE credits.accounts (
    tenant_id       text PRIMARY KEY CHECK (tenant_id ~ '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$'),
    balance         bigint NOT NULL DEFAULT 0 CHECK (balance BETWEEN 0 AND 9007199254740991),
    reserved_funds  bigint NOT NULL DEFAULT 0 CHECK (reserved_funds BETWEEN 0 AND balance),
    total_spent     bigint NOT NULL DEFAULT 0 CHECK (total_spent >= 0),
    total_purchased bigint NOT NULL DEFAULT 0 CHECK (total_purchased >= 0),
    version         bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    chain_hash      bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(chain_hash) = 32),
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (balance = total_purchased - total_spent)
) WITH (fillfactor = 40);

CREATE TABLE credits.ledger (
    transaction_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id       text NOT NULL REFERENCES credits.accounts,
    version         bigint NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('consume', 'purchase')),
    amount          bigint NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
    balance_after   bigint NOT NULL CHECK (balance_after >= 0),
    idempotency_key uuid NOT NULL,
    key_id          text NOT NULL,
    description     text,
    reference       text,
    source          text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, version)
);

-- hash = SHA-256(previous hash || entry in UTF-8); the first previous hash of a tenant is 32 zero bytes.
CREATE TABLE credits.audit (
    tenant_id text NOT NULL REFERENCES credits.accounts,
    version   bigint NOT NULL,
    entry     text NOT NULL,
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, version)
);

-- What a key was first answered, for 24 hours. `day` (UTC) names the partition, which is dropped whole.
CREATE TABLE credits.idempotency (
    tenant_id       text NOT NULL,
    idempotency_key uuid NOT NULL,
    day             date NOT NULL,
    request_hash    bytea NOT NULL,
    outcome         text NOT NULL CHECK (outcome IN ('done', 'insufficient')),
    transaction_id  uuid,
    balance         bigint NOT NULL,
    available       bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, idempotency_key, day)
) PARTITION BY RANGE (day);

-- Only HMAC-SHA256(pepper, key) is kept of a key. A revoked row stays, so that its id is never used again.
CREATE TABLE credits.api_keys (
    key_id     text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{16}$'),
    key_hash   bytea NOT NULL CHECK (length(key_hash) = 32),
    tenant_id  text REFERENCES credits.accounts,
    scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['consume', 'read', 'purchase', 'admin'] AND scopes <> '{}'),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- Makes the partitions from yesterday to p_days_ahead days ahead and drops those whose last record is older than
-- 24 hours. Attaching blocks nobody; dropping waits at most 2 s for its lock and is tried again at the next run.
CREATE FUNCTION credits.maintain_idempotency(p_days_ahead integer, OUT o_created integer, OUT o_dropped integer)
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_day   date;
    v_name  text;
BEGIN
    o_created := 0;
    o_dropped := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('shieldx credits maintenance', 0)) THEN
        RETURN;
    END IF;
    FOR v_day IN SELECT v_today + n FROM generate_series(-1, p_days_ahead) AS n LOOP
        v_name := 'idempotency_' || to_char(v_day, 'YYYYMMDD');
        IF to_regclass('credits.' || v_name) IS NULL THEN
            EXECUTE format('CREATE TABLE credits.%I (LIKE credits.idempotency INCLUDING ALL)', v_name);
            EXECUTE format(
                'ALTER TABLE credits.idempotency ATTACH PARTITION credits.%I FOR VALUES FROM (%L) TO (%L)',
                v_name, v_day, v_day + 1);
            o_created := o_created + 1;
        END IF;
    END LOOP;
    FOR v_name IN
        SELECT c.relname
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'credits.idempotency'::regclass
          AND c.relname < 'idempotency_' || to_char(v_today - 1, 'YYYYMMDD')
    LOOP
        EXECUTE format('DROP TABLE credits.%I', v_name);
        o_dropped := o_dropped + 1;
    END LOOP;
END
$$;

-- One movement of credits, decided and recorded in the one transaction of the call, all or nothing.
-- o_outcome: done, insufficient, unknown_tenant, in_flight, key_reused, limit.
CREATE FUNCTION credits.move(
    p_kind text, p_tenant_id text, p_amount bigint, p_idempotency_key uuid, p_request_hash bytea,
    p_key_id text, p_description text, p_reference text, p_source text,
    OUT o_outcome text, OUT o_replayed boolean, OUT o_transaction_id uuid, OUT o_balance bigint,
    OUT o_available bigint, OUT o_reserved_funds bigint, OUT o_total_spent bigint, OUT o_total_purchased bigint,
    OUT o_version bigint)
LANGUAGE plpgsql AS $$
DECLARE
    c_max_balance CONSTANT bigint := 9007199254740991;
    c_max_total   CONSTANT bigint := 9223372036854775807;
    v_today       date := (now() AT TIME ZONE 'UTC')::date;
    v_account     credits.accounts%ROWTYPE;
    v_first       credits.idempotency%ROWTYPE;
    v_entry       text;
    v_hash        bytea;
BEGIN
    o_replayed := false;

    -- Held to the end of the transaction: whoever gets it sees what an earlier holder committed.
    IF NOT pg_try_advisory_xact_lock(hashtextextended(p_tenant_id || ' ' || p_idempotency_key, 1)) THEN
        o_outcome := 'in_flight';
        RETURN;
    END IF;
    SELECT * INTO v_first
    FROM credits.idempotency
    WHERE tenant_id = p_tenant_id AND idempotency_key = p_idempotency_key
      AND day >= v_today - 1 AND created_at > now() - interval '24 hours';
    IF FOUND THEN
        IF v_first.request_hash <> p_request_hash THEN
            o_outcome := 'key_reused';
            RETURN;
        END IF;
        o_outcome := v_first.outcome;
        o_replayed := true;
        o_transaction_id := v_first.transaction_id;
        o_balance := v_first.balance;
        o_available := v_first.available;
        RETURN;
    END IF;

    SELECT * INTO v_account FROM credits.accounts WHERE tenant_id = p_tenant_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        o_outcome := 'unknown_tenant';
        RETURN;
    END IF;
    IF p_kind = 'purchase' AND (v_account.balance > c_max_balance - p_amount
                                OR v_account.total_purchased > c_max_total - p_amount) THEN
        o_outcome := 'limit';
        o_balance := v_account.balance;
        RETURN;
    END IF;

    IF p_kind = 'consume' AND v_account.balance - v_account.reserved_funds < p_amount THEN
        o_outcome := 'insufficient';
    ELSE
        o_outcome := 'done';
        o_transaction_id := gen_random_uuid();
        v_account.version := v_account.version + 1;
        IF p_kind = 'consume' THEN
            v_account.balance := v_account.balance - p_amount;
            v_account.total_spent := v_account.total_spent + p_amount;
        ELSE
            v_account.balance := v_account.balance + p_amount;
            v_account.total_purchased := v_account.total_purchased + p_amount;
        END IF;
        v_entry := json_build_array(
            1, p_tenant_id, v_account.version, p_kind, p_amount, v_account.balance, o_transaction_id,
            p_idempotency_key, p_key_id, p_description, p_reference, p_source,
            to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text;
        v_hash := sha256(v_account.chain_hash || convert_to(v_entry, 'UTF8'));

        UPDATE credits.accounts
        SET balance = v_account.balance, total_spent = v_account.total_spent,
            total_purchased = v_account.total_purchased, version = v_account.version, chain_hash = v_hash
        WHERE tenant_id = p_tenant_id;
        INSERT INTO credits.ledger (transaction_id, tenant_id, version, kind, amount, balance_after,
                                    idempotency_key, key_id, description, reference, source)
        VALUES (o_transaction_id, p_tenant_id, v_account.version, p_kind, p_amount, v_account.balance,
                p_idempotency_key, p_key_id, p_description, p_reference, p_source);
        INSERT INTO credits.audit (tenant_id, version, entry, hash)
        VALUES (p_tenant_id, v_account.version, v_entry, v_hash);
    END IF;

    o_balance := v_account.balance;
    o_reserved_funds := v_account.reserved_funds;
    o_available := v_account.balance - v_account.reserved_funds;
    o_total_spent := v_account.total_spent;
    o_total_purchased := v_account.total_purchased;
    o_version := v_account.version;
    INSERT INTO credits.idempotency (tenant_id, idempotency_key, day, request_hash, outcome, transaction_id,
                                     balance, available)
    VALUES (p_tenant_id, p_idempotency_key, v_today, p_request_hash, o_outcome, o_transaction_id,
            o_balance, o_available);
END
$$;

SELECT * FROM credits.maintain_idempotency(7);
