-- What has expired while nobody settled is carried out in portions, each committed: all of it at once may take longer than
-- a statement may, and would then never be done.
--
-- Expand only: credits.settle and credits.lock_and_settle keep their signatures; what settle gives is the same.

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
