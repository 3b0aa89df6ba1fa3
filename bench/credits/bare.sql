-- A bare ledger, decided as `credits.consume_batch` decides: account, ledger entry and record of the key, but no lots,
-- no holds, no expiry, no leaves and no chain. What those cost is the difference.
CREATE OR REPLACE FUNCTION bench.consume_bare(
    p_wait boolean, p_tenant_ids text[], p_amounts bigint[], p_idempotency_keys uuid[], p_request_hashes bytea[],
    p_key_ids text[], p_descriptions text[], p_references text[])
RETURNS TABLE (o_outcome text, o_replayed boolean, o_transaction_id uuid, o_balance bigint, o_version bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    v_today     date := (now() AT TIME ZONE 'UTC')::date;
    v_now       timestamptz := clock_timestamp();
    v_count     integer := cardinality(p_tenant_ids);
    v_prefix    bytea := substring(int8send((extract(epoch FROM v_now) * 1000)::bigint) FROM 3) || '\x70'::bytea;
    v_free      boolean[];
    v_tenants   text[];
    v_balances  bigint[];
    v_spent     bigint[];
    v_versions  bigint[];
    v_places    integer[];
    v_outcomes  text[];
    v_replayed  boolean[];
    v_ids       uuid[];
    v_bal_after bigint[];
    v_ver_after bigint[] := array_fill(NULL::bigint, ARRAY[v_count]);
    v_place     integer;
BEGIN
    v_free := ARRAY(
        SELECT pg_try_advisory_xact_lock(hashtextextended(q.tenant_id || ' ' || q.idempotency_key, 1))
        FROM unnest(p_tenant_ids, p_idempotency_keys) AS q (tenant_id, idempotency_key));
    SELECT array_agg(s.tenant_id), array_agg(s.balance), array_agg(s.total_spent), array_agg(s.version)
    INTO v_tenants, v_balances, v_spent, v_versions
    FROM (SELECT * FROM credits.accounts WHERE tenant_id = ANY (p_tenant_ids)
          ORDER BY tenant_id FOR NO KEY UPDATE SKIP LOCKED) s;
    SELECT array_agg(CASE WHEN v_free[q.n] AND f.outcome IS NULL THEN t.place END ORDER BY q.n),
           array_agg(CASE
               WHEN NOT v_free[q.n] THEN 'in_flight'
               WHEN t.place IS NULL THEN 'contended'
               WHEN f.request_hash <> q.request_hash THEN 'key_reused'
               ELSE coalesce(f.outcome, 'done') END ORDER BY q.n),
           array_agg(f.outcome IS NOT NULL ORDER BY q.n),
           array_agg(CASE WHEN f.outcome IS NULL
                          THEN encode(v_prefix || substring(uuid_send(gen_random_uuid()) FROM 8), 'hex')::uuid
                          ELSE f.transaction_id END ORDER BY q.n),
           array_agg(f.balance ORDER BY q.n)
    INTO v_places, v_outcomes, v_replayed, v_ids, v_bal_after
    FROM unnest(p_tenant_ids, p_idempotency_keys, p_request_hashes) WITH ORDINALITY
         AS q (tenant_id, idempotency_key, request_hash, n)
    LEFT JOIN unnest(v_tenants) WITH ORDINALITY AS t (tenant_id, place) ON t.tenant_id = q.tenant_id
    LEFT JOIN LATERAL (
        SELECT i.request_hash, i.outcome, i.transaction_id, i.balance
        FROM credits.idempotency i
        WHERE i.tenant_id = q.tenant_id AND i.idempotency_key = q.idempotency_key
          AND i.day BETWEEN v_today - 1 AND v_today + 1 AND i.created_at > v_now - interval '24 hours'
        LIMIT 1) f ON true;
    FOR i IN 1 .. v_count LOOP
        v_place := v_places[i];
        CONTINUE WHEN v_place IS NULL;
        IF v_balances[v_place] < p_amounts[i] THEN
            v_outcomes[i] := 'insufficient';
            v_ids[i] := NULL;
        ELSE
            v_balances[v_place] := v_balances[v_place] - p_amounts[i];
            v_spent[v_place] := v_spent[v_place] + p_amounts[i];
            v_versions[v_place] := v_versions[v_place] + 1;
            v_ver_after[i] := v_versions[v_place];
        END IF;
        v_bal_after[i] := v_balances[v_place];
    END LOOP;
    UPDATE credits.accounts a
    SET balance = u.balance, total_spent = u.total_spent, version = u.version
    FROM unnest(v_tenants, v_balances, v_spent, v_versions) AS u (tenant_id, balance, total_spent, version)
    WHERE a.tenant_id = u.tenant_id AND a.version <> u.version;
    INSERT INTO credits.ledger (
        transaction_id, tenant_id, version, kind, amount, balance_after, idempotency_key, key_id, description,
        reference, created_at)
    SELECT q.transaction_id, q.tenant_id, q.version, 'consume', q.amount, q.balance, q.idempotency_key, q.key_id,
           q.description, q.reference, v_now
    FROM unnest(v_ids, p_tenant_ids, v_ver_after, p_amounts, v_bal_after, p_idempotency_keys, p_key_ids,
                p_descriptions, p_references)
         AS q (transaction_id, tenant_id, version, amount, balance, idempotency_key, key_id, description, reference)
    WHERE q.version IS NOT NULL;
    INSERT INTO credits.idempotency (tenant_id, idempotency_key, day, request_hash, outcome, transaction_id,
                                     balance, available, created_at)
    SELECT q.tenant_id, q.idempotency_key, v_today, q.request_hash, q.outcome, q.transaction_id, q.balance,
           q.balance, v_now
    FROM unnest(p_tenant_ids, p_idempotency_keys, p_request_hashes, v_outcomes, v_ids, v_bal_after, v_places)
         AS q (tenant_id, idempotency_key, request_hash, outcome, transaction_id, balance, place)
    WHERE q.place IS NOT NULL;
    RETURN QUERY
    SELECT q.outcome, q.replayed, q.transaction_id, q.balance, q.version
    FROM unnest(v_outcomes, v_replayed, v_ids, v_bal_after, v_ver_after)
         AS q (outcome, replayed, transaction_id, balance, version);
END
$$;
