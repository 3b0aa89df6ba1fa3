-- Settling what is due, and deciding consumes by the batch.

-- Appends one link to a chain that no other writer is at, and says where.
CREATE FUNCTION credits.link(p_leaves bytea, p_at timestamptz, OUT o_chain_id integer, OUT o_seq bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_head credits.chain_heads%ROWTYPE;
BEGIN
    SELECT * INTO v_head FROM credits.chain_heads ORDER BY chain_id FOR NO KEY UPDATE SKIP LOCKED LIMIT 1;
    IF NOT FOUND THEN
        INSERT INTO credits.chain_heads (chain_id) VALUES (nextval('credits.chain_ids')) RETURNING * INTO v_head;
    END IF;
    o_chain_id := v_head.chain_id;
    o_seq := v_head.seq + 1;
    v_head.hash := sha256(v_head.hash || p_leaves);
    INSERT INTO credits.chain_links (chain_id, seq, leaves, hash, created_at)
    VALUES (o_chain_id, o_seq, p_leaves, v_head.hash, p_at);
    UPDATE credits.chain_heads SET seq = o_seq, hash = v_head.hash WHERE chain_id = o_chain_id;
END
$$;

-- Writes one entry into the ledger and its chain. p_account is the account after it.
CREATE FUNCTION credits.record(
    p_account credits.accounts, p_kind text, p_amount bigint, p_transaction_id uuid, p_idempotency_key uuid,
    p_key_id text, p_related_id uuid, p_at timestamptz, p_description text, p_reference text, p_source text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_chain_id integer;
    v_seq      bigint;
BEGIN
    SELECT o_chain_id, o_seq INTO v_chain_id, v_seq
    FROM credits.link(credits.leaf(credits.entry(
        p_account.tenant_id, p_account.version, p_kind, p_amount, p_account.balance, p_transaction_id,
        p_idempotency_key, p_key_id, p_related_id, credits.moment(p_at), p_description, p_reference, p_source)), p_at);
    INSERT INTO credits.ledger (
        transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key, key_id, description,
        reference, source, created_at, related_id, spent_after, reserved_after, purchased_after, refunded_after,
        expired_after, chain_id, chain_seq, chain_pos)
    VALUES (
        p_transaction_id, p_account.tenant_id, p_account.version, p_kind, p_amount, p_account.balance,
        p_idempotency_key, p_key_id, p_description, p_reference, p_source, p_at, p_related_id,
        p_account.total_spent + p_account.total_refunded, p_account.reserved_funds, p_account.total_purchased,
        p_account.total_refunded, p_account.total_expired, v_chain_id, v_seq, 0);
END
$$;

-- Draws what was spent from the lots, in their order. The caller has locked the account.
--
-- Lots change only after this has run, and none expires without it (next_event_at): so whatever was spent since it
-- last ran was spent in the order that the lots have now.
CREATE FUNCTION credits.draw(p_account credits.accounts, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_grant  record;
    v_undrawn bigint;
    v_place  bigint;
    v_part   bigint;
BEGIN
    SELECT coalesce(sum(remaining), 0) - (p_account.balance - p_account.reserved_funds) INTO v_undrawn
    FROM credits.grants WHERE tenant_id = p_account.tenant_id AND remaining + held > 0;
    IF v_undrawn < 0 THEN
        -- the release before has sold credits without a lot
        INSERT INTO credits.grants (grant_id, tenant_id, amount, remaining, priority, source, created_at)
        VALUES (credits.new_id(p_at), p_account.tenant_id, -v_undrawn, -v_undrawn, 100, 'opening', p_at);
        RETURN;
    END IF;
    v_place := p_account.total_spent + p_account.total_refunded - v_undrawn;
    FOR v_grant IN
        SELECT grant_id, remaining FROM credits.grants
        WHERE tenant_id = p_account.tenant_id AND remaining + held > 0
        ORDER BY priority, expires_at, created_at, grant_id
    LOOP
        EXIT WHEN v_undrawn = 0;
        v_part := least(v_undrawn, v_grant.remaining);
        CONTINUE WHEN v_part = 0;
        UPDATE credits.grants SET remaining = remaining - v_part WHERE grant_id = v_grant.grant_id;
        INSERT INTO credits.draws (tenant_id, spent_from, spent_to, grant_id)
        VALUES (p_account.tenant_id, v_place, v_place + v_part, v_grant.grant_id);
        v_place := v_place + v_part;
        v_undrawn := v_undrawn - v_part;
    END LOOP;
END
$$;

-- Gives what a hold has of each lot back to it.
CREATE FUNCTION credits.give_back(p_reservation_id uuid) RETURNS void LANGUAGE sql AS $$
    UPDATE credits.grants g SET remaining = g.remaining + l.amount, held = g.held - l.amount
    FROM (SELECT grant_id, sum(amount)::bigint AS amount FROM credits.hold_lots
          WHERE reservation_id = p_reservation_id GROUP BY grant_id) l
    WHERE g.grant_id = l.grant_id
$$;

CREATE FUNCTION credits.next_event(p_tenant_id text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT least(
        (SELECT min(expires_at) FROM credits.grants WHERE tenant_id = p_tenant_id AND remaining + held > 0),
        (SELECT min(expires_at) FROM credits.holds WHERE tenant_id = p_tenant_id AND state = 'held'))
$$;

-- Draws what was spent and carries out, in the order of their times, what has expired by p_at. Gives the account as it
-- is then. The caller has locked the account.
CREATE FUNCTION credits.settle(p_tenant_id text, p_at timestamptz) RETURNS credits.accounts LANGUAGE plpgsql AS $$
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

-- Locks an account and settles it. Null where there is none.
CREATE FUNCTION credits.lock_and_settle(p_tenant_id text) RETURNS credits.accounts LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM credits.accounts WHERE tenant_id = p_tenant_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN credits.settle(p_tenant_id, clock_timestamp());
END
$$;

-- Locks those accounts, in the order of their ids as every other call that locks more than one, and settles what is
-- due. p_wait false passes over those that somebody else has locked. Gives them as arrays, by the same place in each.
CREATE FUNCTION credits.lock_accounts(
    p_tenant_ids text[], p_wait boolean, OUT tenant_ids text[], OUT balances bigint[], OUT reserved bigint[],
    OUT spent bigint[], OUT refunded bigint[], OUT purchased bigint[], OUT versions bigint[],
    OUT events timestamptz[])
LANGUAGE plpgsql AS $$
DECLARE
    v_account credits.accounts;
    v_now     timestamptz;
BEGIN
    -- two statements: each has a plan of its own
    IF p_wait THEN
        SELECT array_agg(s.tenant_id), array_agg(s.balance), array_agg(s.reserved_funds), array_agg(s.total_spent),
               array_agg(s.total_refunded), array_agg(s.total_purchased), array_agg(s.version),
               array_agg(s.next_event_at)
        INTO tenant_ids, balances, reserved, spent, refunded, purchased, versions, events
        FROM (SELECT * FROM credits.accounts WHERE tenant_id = ANY (p_tenant_ids)
              ORDER BY tenant_id FOR NO KEY UPDATE) s;
    ELSE
        SELECT array_agg(s.tenant_id), array_agg(s.balance), array_agg(s.reserved_funds), array_agg(s.total_spent),
               array_agg(s.total_refunded), array_agg(s.total_purchased), array_agg(s.version),
               array_agg(s.next_event_at)
        INTO tenant_ids, balances, reserved, spent, refunded, purchased, versions, events
        FROM (SELECT * FROM credits.accounts WHERE tenant_id = ANY (p_tenant_ids)
              ORDER BY tenant_id FOR NO KEY UPDATE SKIP LOCKED) s;
    END IF;
    v_now := clock_timestamp();
    FOR i IN 1 .. coalesce(cardinality(tenant_ids), 0) LOOP
        CONTINUE WHEN events[i] IS NULL OR events[i] > v_now;
        v_account := credits.settle(tenant_ids[i], v_now);
        balances[i] := v_account.balance;
        reserved[i] := v_account.reserved_funds;
        versions[i] := v_account.version;
        events[i] := v_account.next_event_at;
    END LOOP;
END
$$;

-- Decides consumes in the order in which they stand, each as if it were alone: its outcome, account, ledger entry,
-- link of the audit chain and record of its key, all in one transaction.
--
-- p_wait false passes over accounts that somebody else has locked (outcome 'contended', nothing was done): so one busy
-- tenant does not hold up the others. No request may stand twice in a batch.
-- o_outcome: done, insufficient, unknown_tenant, in_flight, key_reused, contended. The last five columns are the
-- account right after a fresh outcome.
--
-- Plans are pinned: a plan that was made while a table was small must not be kept when it has grown.
CREATE FUNCTION credits.consume_batch(
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
    SELECT l.tenant_ids, l.balances, l.reserved, l.spent, l.refunded, l.purchased, l.versions, l.events
    INTO v_tenants, v_balances, v_reserved, v_spent, v_refunded, v_purchased, v_versions, v_events
    FROM credits.lock_accounts(v_tenants, p_wait) l;
    v_now := clock_timestamp();
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
          AND i.day BETWEEN v_today - 1 AND v_today AND i.created_at > v_now - interval '24 hours'
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

        SELECT string_agg(credits.leaf(credits.entry(
                   q.tenant_id, q.version, 'consume', q.amount, q.balance, q.transaction_id, q.idempotency_key,
                   q.key_id, NULL, m.moment, q.description, q.reference, NULL)), ''::bytea ORDER BY q.position)
        INTO v_leaves
        FROM (SELECT credits.moment(v_now) OFFSET 0) AS m (moment),
             unnest(v_ids, p_tenant_ids, v_ver_after, p_amounts, v_bal_after, p_idempotency_keys, p_key_ids,
                    p_descriptions, p_references, v_positions)
             AS q (transaction_id, tenant_id, version, amount, balance, idempotency_key, key_id, description,
                   reference, position)
        WHERE q.position IS NOT NULL;
        SELECT l.o_chain_id, l.o_seq INTO v_chain_id, v_seq FROM credits.link(v_leaves, v_now) l;
        INSERT INTO credits.ledger (
            transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key, key_id, description,
            reference, created_at, spent_after, chain_id, chain_seq, chain_pos)
        SELECT q.transaction_id, q.tenant_id, q.version, 'consume', q.amount, q.balance, q.idempotency_key, q.key_id,
               q.description, q.reference, v_now, q.spent + v_refunded[q.place], v_chain_id, v_seq, q.position
        FROM unnest(v_ids, p_tenant_ids, v_ver_after, p_amounts, v_bal_after, p_idempotency_keys, p_key_ids,
                    p_descriptions, p_references, v_spt_after, v_places, v_positions)
             AS q (transaction_id, tenant_id, version, amount, balance, idempotency_key, key_id, description,
                   reference, spent, place, position)
        WHERE q.position IS NOT NULL;
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
