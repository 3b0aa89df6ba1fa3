-- Movements that are decided one at a time. Each admits its key, locks and settles the account, decides, and records.
--
-- All give the same columns. o_outcome: done, insufficient, unknown_tenant, in_flight, key_reused, limit,
-- unknown_transaction, refund_limit, unknown_reservation, reservation_closed, hold_limit. o_balance to o_version are
-- the account right after a fresh outcome; a replay knows its first balance and available only.

CREATE TYPE credits.movement AS (
    o_outcome text, o_replayed boolean, o_transaction_id uuid, o_balance bigint, o_available bigint,
    o_reserved_funds bigint, o_total_spent bigint, o_total_purchased bigint, o_version bigint,
    o_next_event_at timestamptz, o_expires_at timestamptz, o_limit bigint, o_state text, o_tenant_id text,
    -- not for callers: the account, locked and settled
    o_account credits.accounts, o_now timestamptz);

-- What is the same in the beginning of each. o_outcome stays null where the movement is new and may be decided.
CREATE FUNCTION credits.admit(p_tenant_id text, p_idempotency_key uuid, p_request_hash bytea)
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
      AND day BETWEEN v_today - 1 AND v_today AND created_at > m.o_now - interval '24 hours';
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

-- What is the same in the end of each: the account, the entry, the record of the key. p_kind null: nothing was moved.
CREATE FUNCTION credits.conclude(
    m credits.movement, p_kind text, p_amount bigint, p_idempotency_key uuid, p_request_hash bytea, p_key_id text,
    p_related_id uuid, p_description text, p_reference text, p_source text)
RETURNS credits.movement LANGUAGE plpgsql AS $$
DECLARE
    a credits.accounts := m.o_account;
BEGIN
    IF p_kind IS NOT NULL THEN
        m.o_outcome := 'done';
        a.version := a.version + 1;
        a.next_event_at := credits.next_event(a.tenant_id);
        UPDATE credits.accounts
        SET balance = a.balance, reserved_funds = a.reserved_funds, total_spent = a.total_spent,
            total_purchased = a.total_purchased, total_refunded = a.total_refunded,
            total_expired = a.total_expired, version = a.version, next_event_at = a.next_event_at
        WHERE tenant_id = a.tenant_id;
        PERFORM credits.record(a, p_kind, p_amount, m.o_transaction_id, p_idempotency_key, p_key_id, p_related_id,
                               m.o_now, p_description, p_reference, p_source);
        m.o_account := a;
    END IF;
    m.o_balance := a.balance;
    m.o_available := a.balance - a.reserved_funds;
    m.o_reserved_funds := a.reserved_funds;
    m.o_total_spent := a.total_spent;
    m.o_total_purchased := a.total_purchased;
    m.o_version := a.version;
    m.o_next_event_at := a.next_event_at;
    INSERT INTO credits.idempotency (tenant_id, idempotency_key, day, request_hash, outcome, transaction_id,
                                     balance, available, created_at)
    VALUES (a.tenant_id, p_idempotency_key, (now() AT TIME ZONE 'UTC')::date, p_request_hash, m.o_outcome,
            m.o_transaction_id, m.o_balance, m.o_available, m.o_now);
    RETURN m;
END
$$;

CREATE FUNCTION credits.purchase(
    p_tenant_id text, p_amount bigint, p_idempotency_key uuid, p_request_hash bytea, p_key_id text,
    p_reference text, p_source text, p_priority integer, p_expires_at timestamptz)
RETURNS credits.movement LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    m credits.movement := credits.admit(p_tenant_id, p_idempotency_key, p_request_hash);
BEGIN
    IF m.o_outcome IS NOT NULL THEN
        RETURN m;
    END IF;
    IF (m.o_account).balance > 9007199254740991 - p_amount
       OR (m.o_account).total_purchased > 9223372036854775807 - p_amount THEN
        m.o_outcome := 'limit';
        m.o_balance := (m.o_account).balance;
        RETURN m;
    END IF;
    m.o_transaction_id := credits.new_id(m.o_now);
    m.o_account.balance := (m.o_account).balance + p_amount;
    m.o_account.total_purchased := (m.o_account).total_purchased + p_amount;
    -- a grant that has expired on its way here is taken back by the next call, like any other
    INSERT INTO credits.grants (grant_id, tenant_id, amount, remaining, priority, expires_at, source, reference,
                                created_at)
    VALUES (m.o_transaction_id, p_tenant_id, p_amount, p_amount, p_priority, p_expires_at, p_source, p_reference,
            m.o_now);
    RETURN credits.conclude(m, 'purchase', p_amount, p_idempotency_key, p_request_hash, p_key_id, NULL, NULL,
                            p_reference, p_source);
END
$$;

-- Gives p_amount of what a consume or commit took back to the grants that it came from, the last first. What came
-- from a grant that has expired since expires at once.
CREATE FUNCTION credits.refund(
    p_transaction_id uuid, p_only_tenant_id text, p_amount bigint, p_idempotency_key uuid, p_request_hash bytea,
    p_key_id text)
RETURNS credits.movement LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    m         credits.movement;
    v_entry   credits.ledger%ROWTYPE;
    v_draw    record;
    v_before  bigint;
    v_to      bigint;
    v_left    bigint := p_amount;
    v_expired bigint := 0;
BEGIN
    SELECT * INTO v_entry FROM credits.ledger
    WHERE transaction_id = p_transaction_id AND kind IN ('consume', 'commit')
      AND tenant_id = coalesce(p_only_tenant_id, tenant_id);
    IF NOT FOUND THEN
        m.o_outcome := 'unknown_transaction';
        RETURN m;
    END IF;
    m := credits.admit(v_entry.tenant_id, p_idempotency_key, p_request_hash);
    IF m.o_outcome IS NOT NULL THEN
        RETURN m;
    END IF;
    SELECT coalesce(sum(amount), 0) INTO v_before FROM credits.ledger
    WHERE related_id = p_transaction_id AND kind = 'refund';
    IF v_before + p_amount > v_entry.amount THEN
        m.o_outcome := 'refund_limit';
        m.o_limit := v_entry.amount - v_before;
        RETURN m;
    END IF;
    IF (m.o_account).balance > 9007199254740991 - p_amount THEN
        m.o_outcome := 'limit';
        m.o_balance := (m.o_account).balance;
        RETURN m;
    END IF;
    IF v_entry.spent_after IS NULL THEN
        -- an entry of the release before
        SELECT sum(amount) INTO v_entry.spent_after FROM credits.ledger
        WHERE tenant_id = v_entry.tenant_id AND version <= v_entry.version AND kind IN ('consume', 'commit');
    END IF;
    v_to := v_entry.spent_after - v_before;
    FOR v_draw IN
        SELECT d.grant_id, least(d.spent_to, v_to) - greatest(d.spent_from, v_to - p_amount) AS part, g.expires_at
        FROM credits.draws d JOIN credits.grants g ON g.grant_id = d.grant_id
        WHERE d.tenant_id = v_entry.tenant_id AND d.spent_to > v_to - p_amount AND d.spent_from < v_to
    LOOP
        v_left := v_left - v_draw.part;
        IF v_draw.expires_at <= m.o_now THEN
            v_expired := v_expired + v_draw.part;
        ELSE
            UPDATE credits.grants SET remaining = remaining + v_draw.part WHERE grant_id = v_draw.grant_id;
        END IF;
    END LOOP;
    m.o_transaction_id := credits.new_id(m.o_now);
    IF v_left > 0 THEN
        -- spent before there were grants
        INSERT INTO credits.grants (grant_id, tenant_id, amount, remaining, priority, source, created_at)
        VALUES (m.o_transaction_id, v_entry.tenant_id, v_left, v_left, 100, 'refund', m.o_now);
    END IF;
    m.o_account.balance := (m.o_account).balance + p_amount;
    m.o_account.total_spent := (m.o_account).total_spent - p_amount;
    m.o_account.total_refunded := (m.o_account).total_refunded + p_amount;
    IF v_expired > 0 THEN
        RETURN credits.conclude_refund_and_expire(m, p_amount, v_expired, p_idempotency_key, p_request_hash, p_key_id,
                                                  p_transaction_id);
    END IF;
    RETURN credits.conclude(m, 'refund', p_amount, p_idempotency_key, p_request_hash, p_key_id, p_transaction_id,
                            NULL, NULL, NULL);
END
$$;

-- Two entries: what came back, and what of it had expired meanwhile. The answer is the balance after both.
CREATE FUNCTION credits.conclude_refund_and_expire(
    m credits.movement, p_amount bigint, p_expired bigint, p_idempotency_key uuid, p_request_hash bytea,
    p_key_id text, p_related_id uuid)
RETURNS credits.movement LANGUAGE plpgsql AS $$
BEGIN
    m.o_account.version := (m.o_account).version + 1;
    PERFORM credits.record(m.o_account, 'refund', p_amount, m.o_transaction_id, p_idempotency_key, p_key_id,
                           p_related_id, m.o_now, NULL, NULL, NULL);
    m.o_account.balance := (m.o_account).balance - p_expired;
    m.o_account.total_expired := (m.o_account).total_expired + p_expired;
    m.o_account.version := (m.o_account).version + 1;
    PERFORM credits.record(m.o_account, 'expire', p_expired, credits.new_id(m.o_now), NULL, 'service',
                           m.o_transaction_id, m.o_now, NULL, NULL, NULL);
    m.o_account.next_event_at := credits.next_event((m.o_account).tenant_id);
    UPDATE credits.accounts
    SET balance = (m.o_account).balance, total_spent = (m.o_account).total_spent,
        total_refunded = (m.o_account).total_refunded, total_expired = (m.o_account).total_expired,
        version = (m.o_account).version, next_event_at = (m.o_account).next_event_at
    WHERE tenant_id = (m.o_account).tenant_id;
    m.o_outcome := 'done';
    RETURN credits.conclude(m, NULL, NULL, p_idempotency_key, p_request_hash, p_key_id, NULL, NULL, NULL, NULL);
END
$$;

-- Holds credits of the lots that would be spent first. A hold never outlives a lot that it holds: it expires with the
-- first of them, if that is earlier than asked for.
CREATE FUNCTION credits.reserve(
    p_tenant_id text, p_amount bigint, p_expires_in_s integer, p_idempotency_key uuid, p_request_hash bytea,
    p_key_id text)
RETURNS credits.movement LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    m       credits.movement := credits.admit(p_tenant_id, p_idempotency_key, p_request_hash);
    v_grant record;
    v_left  bigint := p_amount;
    v_part  bigint;
    v_place integer := 0;
BEGIN
    IF m.o_outcome IS NOT NULL THEN
        RETURN m;
    END IF;
    IF (m.o_account).balance - (m.o_account).reserved_funds < p_amount THEN
        m.o_outcome := 'insufficient';
        RETURN credits.conclude(m, NULL, NULL, p_idempotency_key, p_request_hash, p_key_id, NULL, NULL, NULL, NULL);
    END IF;
    m.o_transaction_id := credits.new_id(m.o_now);
    m.o_expires_at := m.o_now + make_interval(secs => p_expires_in_s);
    FOR v_grant IN
        SELECT grant_id, remaining, expires_at FROM credits.grants
        WHERE tenant_id = p_tenant_id AND remaining + held > 0
        ORDER BY priority, expires_at, created_at, grant_id
    LOOP
        EXIT WHEN v_left = 0;
        v_part := least(v_left, v_grant.remaining);
        CONTINUE WHEN v_part = 0;
        v_left := v_left - v_part;
        UPDATE credits.grants SET remaining = remaining - v_part, held = held + v_part
        WHERE grant_id = v_grant.grant_id;
        INSERT INTO credits.hold_lots (reservation_id, place, grant_id, amount)
        VALUES (m.o_transaction_id, v_place, v_grant.grant_id, v_part);
        v_place := v_place + 1;
        m.o_expires_at := least(m.o_expires_at, v_grant.expires_at);
    END LOOP;
    INSERT INTO credits.holds (reservation_id, tenant_id, amount, state, expires_at, created_at)
    VALUES (m.o_transaction_id, p_tenant_id, p_amount, 'held', m.o_expires_at, m.o_now);
    m.o_account.reserved_funds := (m.o_account).reserved_funds + p_amount;
    RETURN credits.conclude(m, 'reserve', p_amount, p_idempotency_key, p_request_hash, p_key_id, NULL, NULL, NULL,
                            NULL);
END
$$;

-- Ends a hold: takes p_amount of it (a commit; the rest becomes available again), or nothing (p_amount null: a cancel).
CREATE FUNCTION credits.close_hold(
    p_reservation_id uuid, p_only_tenant_id text, p_amount bigint, p_idempotency_key uuid, p_request_hash bytea,
    p_key_id text)
RETURNS credits.movement LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    m       credits.movement;
    v_hold  credits.holds%ROWTYPE;
    v_lot   record;
    v_left  bigint := coalesce(p_amount, 0);
    v_part  bigint;
    v_place bigint;
BEGIN
    SELECT * INTO v_hold FROM credits.holds
    WHERE reservation_id = p_reservation_id AND tenant_id = coalesce(p_only_tenant_id, tenant_id);
    IF NOT FOUND THEN
        m.o_outcome := 'unknown_reservation';
        RETURN m;
    END IF;
    m := credits.admit(v_hold.tenant_id, p_idempotency_key, p_request_hash);
    IF m.o_outcome IS NOT NULL THEN
        RETURN m;
    END IF;
    -- again, now that nobody else can change it
    SELECT * INTO v_hold FROM credits.holds WHERE reservation_id = p_reservation_id;
    IF v_hold.state <> 'held' THEN
        m.o_outcome := 'reservation_closed';
        m.o_state := v_hold.state;
        RETURN m;
    END IF;
    IF p_amount > v_hold.amount THEN
        m.o_outcome := 'hold_limit';
        m.o_limit := v_hold.amount;
        RETURN m;
    END IF;
    v_place := (m.o_account).total_spent + (m.o_account).total_refunded;
    FOR v_lot IN
        SELECT grant_id, amount FROM credits.hold_lots WHERE reservation_id = p_reservation_id ORDER BY place
    LOOP
        v_part := least(v_left, v_lot.amount);
        UPDATE credits.grants
        SET held = held - v_lot.amount, remaining = remaining + v_lot.amount - v_part
        WHERE grant_id = v_lot.grant_id;
        CONTINUE WHEN v_part = 0;
        INSERT INTO credits.draws (tenant_id, spent_from, spent_to, grant_id)
        VALUES (v_hold.tenant_id, v_place, v_place + v_part, v_lot.grant_id);
        v_place := v_place + v_part;
        v_left := v_left - v_part;
    END LOOP;
    UPDATE credits.holds
    SET state = CASE WHEN p_amount IS NULL THEN 'cancelled' ELSE 'committed' END, committed = coalesce(p_amount, 0)
    WHERE reservation_id = p_reservation_id;
    m.o_transaction_id := credits.new_id(m.o_now);
    m.o_account.reserved_funds := (m.o_account).reserved_funds - v_hold.amount;
    m.o_account.balance := (m.o_account).balance - coalesce(p_amount, 0);
    m.o_account.total_spent := (m.o_account).total_spent + coalesce(p_amount, 0);
    RETURN credits.conclude(
        m, CASE WHEN p_amount IS NULL THEN 'cancel' ELSE 'commit' END, coalesce(p_amount, v_hold.amount),
        p_idempotency_key, p_request_hash, p_key_id, p_reservation_id, NULL, NULL, NULL);
END
$$;

-- The version that a tenant's account had at a time: entries of a tenant are in the order of their times, so that
-- halving finds it in a few lookups, without an index by time.
CREATE FUNCTION credits.version_at(p_tenant_id text, p_time timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_low  bigint := 0;
    v_high bigint;
    v_mid  bigint;
BEGIN
    SELECT version INTO v_high FROM credits.accounts WHERE tenant_id = p_tenant_id;
    WHILE v_low < v_high LOOP
        v_mid := (v_low + v_high + 1) / 2;
        IF (SELECT created_at FROM credits.ledger WHERE tenant_id = p_tenant_id AND version = v_mid) <= p_time THEN
            v_low := v_mid;
        ELSE
            v_high := v_mid - 1;
        END IF;
    END LOOP;
    RETURN v_low;
END
$$;
