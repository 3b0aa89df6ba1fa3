-- The peer: the same durable work for one consume, as one call of one function, with nothing to choose or to wait for
-- but the account's own row. The chain is the client's own.
CREATE SCHEMA IF NOT EXISTS bench;
CREATE OR REPLACE FUNCTION bench.consume(p_tenant_id text, p_amount bigint, p_chain_id integer) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_key     uuid := gen_random_uuid();
    v_hash    bytea := sha256(convert_to(p_tenant_id || p_amount || v_key, 'UTF8'));
    v_id      uuid := gen_random_uuid();
    v_today   date := (now() AT TIME ZONE 'UTC')::date;
    v_account credits.accounts%ROWTYPE;
    v_leaf    bytea;
    v_seq     bigint;
    v_head    bytea;
BEGIN
    IF EXISTS (SELECT FROM credits.idempotency WHERE tenant_id = p_tenant_id AND idempotency_key = v_key
               AND day BETWEEN v_today - 1 AND v_today + 1) THEN
        RETURN false;
    END IF;
    UPDATE credits.accounts
    SET balance = balance - p_amount, total_spent = total_spent + p_amount, version = version + 1
    WHERE tenant_id = p_tenant_id AND balance - reserved_funds >= p_amount
    RETURNING * INTO v_account;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_leaf := sha256('\x00'::bytea || convert_to(
        '2|' || p_tenant_id || '|' || v_account.version || '|consume|' || p_amount || '|' || v_account.balance || '|'
        || v_id || '|' || v_key || '|bench||' || now() || '|"API call charge"|"req-abc123"|', 'UTF8'));
    UPDATE credits.chain_heads SET seq = seq + 1, hash = sha256(hash || v_leaf) WHERE chain_id = p_chain_id
    RETURNING seq, hash INTO v_seq, v_head;
    INSERT INTO credits.chain_links (chain_id, seq, leaves, hash, created_at)
    VALUES (p_chain_id, v_seq, v_leaf, v_head, now());
    INSERT INTO credits.ledger (
        transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key, key_id, description,
        reference, spent_after, chain_id, chain_seq, chain_pos)
    VALUES (v_id, p_tenant_id, v_account.version, 'consume', p_amount, v_account.balance, v_key, 'bench',
            'API call charge', 'req-abc123', v_account.total_spent + v_account.total_refunded, p_chain_id, v_seq, 0);
    INSERT INTO credits.idempotency (tenant_id, idempotency_key, day, request_hash, outcome, transaction_id, balance,
                                     available)
    VALUES (p_tenant_id, v_key, v_today, v_hash, 'done', v_id, v_account.balance,
            v_account.balance - v_account.reserved_funds);
    RETURN true;
END
$$;
INSERT INTO credits.chain_heads (chain_id) SELECT 1000 + n FROM generate_series(0, 63) n ON CONFLICT DO NOTHING;
