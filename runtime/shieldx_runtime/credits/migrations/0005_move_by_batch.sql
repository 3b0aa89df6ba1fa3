-- What the release before calls, with the meaning that accounts have now. Same signature, same outcomes.
CREATE OR REPLACE FUNCTION credits.move(
    p_kind text, p_tenant_id text, p_amount bigint, p_idempotency_key uuid, p_request_hash bytea,
    p_key_id text, p_description text, p_reference text, p_source text,
    OUT o_outcome text, OUT o_replayed boolean, OUT o_transaction_id uuid, OUT o_balance bigint,
    OUT o_available bigint, OUT o_reserved_funds bigint, OUT o_total_spent bigint, OUT o_total_purchased bigint,
    OUT o_version bigint)
LANGUAGE plpgsql AS $$
BEGIN
    IF p_kind = 'purchase' THEN
        SELECT m.o_outcome, m.o_replayed, m.o_transaction_id, m.o_balance, m.o_available, m.o_reserved_funds,
               m.o_total_spent, m.o_total_purchased, m.o_version
        INTO o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_reserved_funds, o_total_spent,
             o_total_purchased, o_version
        FROM credits.purchase(p_tenant_id, p_amount, p_idempotency_key, p_request_hash, p_key_id, p_reference,
                              p_source, 100, NULL) m;
        RETURN;
    END IF;
    SELECT b.o_outcome, b.o_replayed, b.o_transaction_id, b.o_balance, b.o_available, b.o_balance - b.o_available,
           b.o_total_spent, b.o_total_purchased, b.o_version
    INTO o_outcome, o_replayed, o_transaction_id, o_balance, o_available, o_reserved_funds, o_total_spent,
         o_total_purchased, o_version
    FROM credits.consume_batch(
        true, ARRAY[p_tenant_id], ARRAY[p_amount], ARRAY[p_idempotency_key], ARRAY[p_request_hash], ARRAY[p_key_id],
        ARRAY[p_description], ARRAY[p_reference]) b;
END
$$;
