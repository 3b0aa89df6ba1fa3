-- The same decisions for less: an account is locked where it is needed, an entry is put together by one call, and
-- the ledger's rows give their leaves as they are written.
--
-- A key is found under tomorrow's day, too: the clock of the host that a database fails over to may be behind by more
-- than what has passed since midnight.
--
-- What has expired while nobody settled is carried out in portions, each committed: all of it at once may take longer
-- than a statement may, and would then never be done.
--
-- Expand only: the functions keep their signatures and what they answer; the release before may call them.

CREATE OR REPLACE FUNCTION credits.entry(
    p_tenant_id text, p_version bigint, p_kind text, p_amount bigint, p_balance bigint, p_transaction_id uuid,
    p_idempotency_key uuid, p_key_id text, p_related_id uuid, p_created_at text, p_description text,
    p_reference text, p_source text)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws('|', '2', p_tenant_id, p_version, p_kind, p_amount, p_balance, p_transaction_id,
        coalesce(p_idempotency_key::text, ''), p_key_id, coalesce(p_related_id::text, ''), p_created_at,
        coalesce(to_json(p_description)::text, ''), coalesce(to_json(p_reference)::text, ''),
        coalesce(to_json(p_source)::text, ''))
$$;

-- As in 0003_decisions.sql, where it is said what it answers.
--
-- Plans are pinned: a plan that was made while a table was small must not be kept when it has grown.
CREATE OR REPLACE FUNCTION credits.consume_batch(
    p_wait boolean, p_tenant_ids text[], p_amounts bigint[], p_idempotency_keys uuid[], p_request_hashes bytea[],
    p_key_ids text[], p_descriptions text[], p_references text[])
RETURNS TABLE (o_outcome text, o_replayed boolean, o_transaction_id uuid, o_balance bigint, o_available bigint,
               o_version bigint, o_total_spent bigint, o_total_purchased bigint, o_next_event_at timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_today     date := (now() AT TIME ZONE 'UTC')::date;
    v_count     integer := cardinality(p_tenant_ids);
    v_now       timestamptz;
    v_account   credits.accounts;
    v_next      timestamptz;
    v_free      boolean[];
    -- by account
    v_tenants   text[];
    v_balances  bigint[];
    v_reserved  bigint[];
    v_spent     bigint[];
    v_refunded  bigint[];
    v_purchased bigint[];
    v_versions  bigint[];
    v_events    timestamptz[];
    -- by request; v_places: its account, null where there is nothing to decide
    v_places    integer[];
    v_outcomes  text[];
    v_replayed  boolean[];
    v_ids       uuid[];
    v_bal_after bigint[];
    v_available bigint[];
    v_ver_after bigint[] := array_fill(NULL::bigint, ARRAY[v_count]);
    v_spt_after bigint[] := array_fill(NULL::bigint, ARRAY[v_count]);
    v_positions smallint[] := array_fill(NULL::smallint, ARRAY[v_count]);
    v_place     integer;
    v_done      smallint := 0;
    v_prefix    bytea;
    v_leaves    bytea;
    v_chain_id  integer;
    v_seq       bigint;
    v_hash      bytea;
    v_moment    text;
BEGIN
    -- Held to the end of the transaction: whoever gets it sees what an earlier holder committed.
    v_free := ARRAY(
        SELECT pg_try_advisory_xact_lock(hashtextextended(q.tenant_id || ' ' || q.idempotency_key, 1))
        FROM unnest(p_tenant_ids, p_idempotency_keys) AS q (tenant_id, idempotency_key));

    -- a request that is in flight elsewhere waits for nobody
    IF false = ANY (v_free) THEN
        v_tenants := ARRAY(SELECT q.tenant_id FROM unnest(p_tenant_ids, v_free) AS q (tenant_id, free) WHERE q.free);
    ELSE
        v_tenants := p_tenant_ids;
    END IF;
    -- in the order of their ids, as every other call that locks more than one; two statements: each has a plan of its own
    IF p_wait THEN
        SELECT array_agg(s.tenant_id), array_agg(s.balance), array_agg(s.reserved_funds), array_agg(s.total_spent),
               array_agg(s.total_refunded), array_agg(s.total_purchased), array_agg(s.version),
               array_agg(s.next_event_at), min(s.next_event_at)
        INTO v_tenants, v_balances, v_reserved, v_spent, v_refunded, v_purchased, v_versions, v_events, v_next
        FROM (SELECT * FROM credits.accounts WHERE tenant_id = ANY (v_tenants)
              ORDER BY tenant_id FOR NO KEY UPDATE) s;
    ELSE
        SELECT array_agg(s.tenant_id), array_agg(s.balance), array_agg(s.reserved_funds), array_agg(s.total_spent),
               array_agg(s.total_refunded), array_agg(s.total_purchased), array_agg(s.version),
               array_agg(s.next_event_at), min(s.next_event_at)
        INTO v_tenants, v_balances, v_reserved, v_spent, v_refunded, v_purchased, v_versions, v_events, v_next
        FROM (SELECT * FROM credits.accounts WHERE tenant_id = ANY (v_tenants)
              ORDER BY tenant_id FOR NO KEY UPDATE SKIP LOCKED) s;
    END IF;
    v_now := clock_timestamp();
    IF v_next <= v_now THEN
        FOR i IN 1 .. cardinality(v_tenants) LOOP
            CONTINUE WHEN v_events[i] IS NULL OR v_events[i] > v_now;
            v_account := credits.settle(v_tenants[i], v_now);
            v_balances[i] := v_account.balance;
            v_reserved[i] := v_account.reserved_funds;
            v_versions[i] := v_account.version;
            v_events[i] := v_account.next_event_at;
        END LOOP;
        -- what has just been written comes before what is decided now
        v_now := clock_timestamp();
    END IF;
    v_prefix := substring(int8send((extract(epoch FROM v_now) * 1000)::bigint) FROM 3) || '\x70'::bytea;

    -- the LIMIT keeps the lookup of the key one for each row
    SELECT array_agg(CASE WHEN v_free[q.n] AND f.outcome IS NULL THEN t.place END ORDER BY q.n),
           array_agg(CASE
               WHEN NOT v_free[q.n] THEN 'in_flight'
               WHEN t.place IS NULL THEN CASE WHEN p_wait THEN 'unknown_tenant' ELSE 'contended' END
               WHEN f.request_hash <> q.request_hash THEN 'key_reused'
               ELSE coalesce(f.outcome, 'done') END ORDER BY q.n),
           array_agg(v_free[q.n] AND t.place IS NOT NULL AND f.request_hash IS NOT DISTINCT FROM q.request_hash
                     ORDER BY q.n),
           array_agg(CASE WHEN f.outcome IS NULL
                          THEN encode(v_prefix || substring(uuid_send(gen_random_uuid()) FROM 8), 'hex')::uuid
                          ELSE f.transaction_id END ORDER BY q.n),
           array_agg(f.balance ORDER BY q.n), array_agg(f.available ORDER BY q.n)
    INTO v_places, v_outcomes, v_replayed, v_ids, v_bal_after, v_available
    FROM unnest(p_tenant_ids, p_idempotency_keys, p_request_hashes) WITH ORDINALITY
         AS q (tenant_id, idempotency_key, request_hash, n)
    LEFT JOIN unnest(v_tenants) WITH ORDINALITY AS t (tenant_id, place) ON t.tenant_id = q.tenant_id
    LEFT JOIN LATERAL (
        SELECT i.request_hash, i.outcome, i.transaction_id, i.balance, i.available
        FROM credits.idempotency i
        WHERE i.tenant_id = q.tenant_id AND i.idempotency_key = q.idempotency_key
          AND i.day BETWEEN v_today - 1 AND v_today + 1 AND i.created_at > v_now - interval '24 hours'
        LIMIT 1) f ON true;

    FOR i IN 1 .. v_count LOOP
        v_place := v_places[i];
        CONTINUE WHEN v_place IS NULL;
        IF v_balances[v_place] - v_reserved[v_place] < p_amounts[i] THEN
            v_outcomes[i] := 'insufficient';
            v_ids[i] := NULL;
        ELSE
            v_balances[v_place] := v_balances[v_place] - p_amounts[i];
            v_spent[v_place] := v_spent[v_place] + p_amounts[i];
            v_versions[v_place] := v_versions[v_place] + 1;
            v_positions[i] := v_done;
            v_done := v_done + 1;
        END IF;
        v_bal_after[i] := v_balances[v_place];
        v_available[i] := v_balances[v_place] - v_reserved[v_place];
        v_ver_after[i] := v_versions[v_place];
        v_spt_after[i] := v_spent[v_place];
    END LOOP;

    IF v_done > 0 THEN
        UPDATE credits.accounts a
        SET balance = u.balance, total_spent = u.total_spent, version = u.version
        FROM unnest(v_tenants, v_balances, v_spent, v_versions) AS u (tenant_id, balance, total_spent, version)
        WHERE a.tenant_id = u.tenant_id AND a.version <> u.version;

        SELECT h.chain_id, h.seq + 1, h.hash INTO v_chain_id, v_seq, v_hash
        FROM credits.chain_heads h ORDER BY h.chain_id FOR NO KEY UPDATE SKIP LOCKED LIMIT 1;
        IF NOT FOUND THEN
            INSERT INTO credits.chain_heads AS h (chain_id) VALUES (nextval('credits.chain_ids'))
            RETURNING h.chain_id, h.seq + 1, h.hash INTO v_chain_id, v_seq, v_hash;
        END IF;
        v_moment := credits.moment(v_now);
        WITH written AS (
            INSERT INTO credits.ledger AS w (
                transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key, key_id, description,
                reference, created_at, spent_after, chain_id, chain_seq, chain_pos)
            SELECT q.transaction_id, q.tenant_id, q.version, 'consume', q.amount, q.balance, q.idempotency_key,
                   q.key_id, q.description, q.reference, v_now, q.spent + v_refunded[q.place], v_chain_id, v_seq,
                   q.position
            FROM unnest(v_ids, p_tenant_ids, v_ver_after, p_amounts, v_bal_after, p_idempotency_keys, p_key_ids,
                        p_descriptions, p_references, v_spt_after, v_places, v_positions)
                 AS q (transaction_id, tenant_id, version, amount, balance, idempotency_key, key_id, description,
                       reference, spent, place, position)
            WHERE q.position IS NOT NULL
            RETURNING w.chain_pos, credits.leaf(credits.entry(
                w.tenant_id, w.version, w.kind, w.amount, w.balance_after, w.transaction_id, w.idempotency_key,
                w.key_id, NULL, v_moment, w.description, w.reference, NULL)) AS leaf)
        SELECT string_agg(w.leaf, ''::bytea ORDER BY w.chain_pos) INTO v_leaves FROM written w;
        v_hash := sha256(v_hash || v_leaves);
        INSERT INTO credits.chain_links (chain_id, seq, leaves, hash, created_at)
        VALUES (v_chain_id, v_seq, v_leaves, v_hash, v_now);
        UPDATE credits.chain_heads SET seq = v_seq, hash = v_hash WHERE chain_id = v_chain_id;
    END IF;
    INSERT INTO credits.idempotency (tenant_id, idempotency_key, day, request_hash, outcome, transaction_id,
                                     balance, available, created_at)
    SELECT q.tenant_id, q.idempotency_key, v_today, q.request_hash, q.outcome, q.transaction_id, q.balance,
           q.available, v_now
    FROM unnest(p_tenant_ids, p_idempotency_keys, p_request_hashes, v_outcomes, v_ids, v_bal_after, v_available,
                v_places)
         AS q (tenant_id, idempotency_key, request_hash, outcome, transaction_id, balance, available, place)
    WHERE q.place IS NOT NULL;

    RETURN QUERY
    SELECT q.outcome, q.replayed, q.transaction_id, q.balance, q.available, q.version, q.spent,
           v_purchased[q.place], v_events[q.place]
    FROM unnest(v_outcomes, v_replayed, v_ids, v_bal_after, v_available, v_ver_after, v_spt_after, v_places)
         AS q (outcome, replayed, transaction_id, balance, available, version, spent, place);
END
$$;

-- What is the same in the beginning of each. o_outcome stays null where the movement is new and may be decided.
CREATE OR REPLACE FUNCTION credits.admit(p_tenant_id text, p_idempotency_key uuid, p_request_hash bytea)
RETURNS credits.movement LANGUAGE plpgsql AS $$
DECLARE
    m       credits.movement;
    v_first credits.idempotency%ROWTYPE;
    v_today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    m.o_replayed := false;
    m.o_tenant_id := p_tenant_id;
    IF NOT pg_try_advisory_xact_lock(hashtextextended(p_tenant_id || ' ' || p_idempotency_key, 1)) THEN
        m.o_outcome := 'in_flight';
        RETURN m;
    END IF;
    PERFORM FROM credits.accounts WHERE tenant_id = p_tenant_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        m.o_outcome := 'unknown_tenant';
        RETURN m;
    END IF;
    m.o_now := clock_timestamp();
    SELECT * INTO v_first FROM credits.idempotency
    WHERE tenant_id = p_tenant_id AND idempotency_key = p_idempotency_key
      AND day BETWEEN v_today - 1 AND v_today + 1 AND created_at > m.o_now - interval '24 hours';
    IF FOUND THEN
        IF v_first.request_hash <> p_request_hash THEN
            m.o_outcome := 'key_reused';
            RETURN m;
        END IF;
        m.o_outcome := v_first.outcome;
        m.o_replayed := true;
        m.o_transaction_id := v_first.transaction_id;
        m.o_balance := v_first.balance;
        m.o_available := v_first.available;
        SELECT expires_at INTO m.o_expires_at FROM credits.holds WHERE reservation_id = v_first.transaction_id;
        RETURN m;
    END IF;
    m.o_account := credits.settle(p_tenant_id, m.o_now);
    RETURN m;
END
$$;

-- Draws what was spent and carries out, in the order of their times, what has expired by p_at: at most p_limit holds and
-- grants (null: all). While there are more, next_event_at has passed. Gives the account as it is then. The caller has
-- locked it.
CREATE FUNCTION credits.settle_some(p_tenant_id text, p_at timestamptz, p_limit integer)
RETURNS credits.accounts LANGUAGE plpgsql AS $$
DECLARE
    v_account credits.accounts;
    v_due     record;
    v_amount  bigint;
BEGIN
    SELECT * INTO v_account FROM credits.accounts WHERE tenant_id = p_tenant_id;
    PERFORM credits.draw(v_account, p_at);
    IF v_account.next_event_at IS NULL OR v_account.next_event_at > p_at THEN
        RETURN v_account;
    END IF;
    -- a hold never outlives its lots: at the same moment it goes first
    FOR v_due IN
        SELECT expires_at, 0 AS turn, reservation_id AS id FROM credits.holds
        WHERE tenant_id = p_tenant_id AND state = 'held' AND expires_at <= p_at
        UNION ALL
        SELECT expires_at, 1, grant_id FROM credits.grants
        WHERE tenant_id = p_tenant_id AND remaining + held > 0 AND expires_at <= p_at
        ORDER BY 1, 2, 3
        LIMIT p_limit
    LOOP
        IF v_due.turn = 0 THEN
            UPDATE credits.holds SET state = 'expired' WHERE reservation_id = v_due.id RETURNING amount INTO v_amount;
            PERFORM credits.give_back(v_due.id);
            v_account.reserved_funds := v_account.reserved_funds - v_amount;
        ELSE
            SELECT remaining INTO v_amount FROM credits.grants WHERE grant_id = v_due.id;
            UPDATE credits.grants SET remaining = 0 WHERE grant_id = v_due.id;
            v_account.balance := v_account.balance - v_amount;
            v_account.total_expired := v_account.total_expired + v_amount;
        END IF;
        v_account.version := v_account.version + 1;
        PERFORM credits.record(
            v_account, CASE v_due.turn WHEN 0 THEN 'release' ELSE 'expire' END, v_amount,
            credits.new_id(v_due.expires_at), NULL, 'service', v_due.id, v_due.expires_at, NULL, NULL, NULL);
    END LOOP;
    v_account.next_event_at := credits.next_event(p_tenant_id);
    UPDATE credits.accounts
    SET balance = v_account.balance, reserved_funds = v_account.reserved_funds,
        total_expired = v_account.total_expired, version = v_account.version, next_event_at = v_account.next_event_at
    WHERE tenant_id = p_tenant_id;
    RETURN v_account;
END
$$;

CREATE OR REPLACE FUNCTION credits.settle(p_tenant_id text, p_at timestamptz)
RETURNS credits.accounts LANGUAGE plpgsql AS $$
BEGIN
    RETURN credits.settle_some(p_tenant_id, p_at, NULL);
END
$$;

-- Locks an account and settles it, within bounds: whoever finds next_event_at in the past calls again. Null where there
-- is none.
CREATE OR REPLACE FUNCTION credits.lock_and_settle(p_tenant_id text) RETURNS credits.accounts LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM credits.accounts WHERE tenant_id = p_tenant_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN credits.settle_some(p_tenant_id, clock_timestamp(), 500);
END
$$;
