-- Thresholds of tenants' balances, and an outbox of alerts that are to be delivered.
--
-- Expand only: the release before knows neither; its movements fire the trigger as those of this one do.

CREATE TABLE credits.alert_rules (
    tenant_id      text PRIMARY KEY REFERENCES credits.accounts,
    thresholds     bigint[] NOT NULL CHECK (cardinality(thresholds) BETWEEN 1 AND 10),
    webhook_url    text NOT NULL,
    secret_version integer NOT NULL CHECK (secret_version > 0),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row a crossing, written by the transaction that crossed: no crash can part the two.
CREATE TABLE credits.alerts (
    alert_id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id       text NOT NULL REFERENCES credits.accounts,
    threshold       bigint NOT NULL,
    available       bigint NOT NULL,
    balance         bigint NOT NULL,
    version         bigint NOT NULL,
    crossed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz DEFAULT clock_timestamp(),
    delivered_at    timestamptz,
    problem         text
);
COMMENT ON COLUMN credits.alerts.next_attempt_at IS 'null: delivered, or given up';
CREATE INDEX alerts_due ON credits.alerts (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX alerts_of_tenant ON credits.alerts (tenant_id, crossed_at);

-- The nearest thresholds: below alert_below is a crossing; from alert_above on, one that was told counts again.
-- Both null where a tenant has no rule: then the trigger's condition is not true and nothing is called.
ALTER TABLE credits.accounts ADD COLUMN alert_below bigint, ADD COLUMN alert_above bigint;

CREATE FUNCTION credits.cross_thresholds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_available  bigint := NEW.balance - NEW.reserved_funds;
    v_thresholds bigint[];
BEGIN
    SELECT thresholds INTO v_thresholds FROM credits.alert_rules WHERE tenant_id = NEW.tenant_id;
    INSERT INTO credits.alerts (tenant_id, threshold, available, balance, version)
    SELECT NEW.tenant_id, t, v_available, NEW.balance, NEW.version
    FROM unnest(v_thresholds) AS t
    WHERE t <= NEW.alert_below AND t > v_available
    ORDER BY t DESC;
    SELECT max(t) FILTER (WHERE t <= v_available), min(t) FILTER (WHERE t > v_available)
    INTO NEW.alert_below, NEW.alert_above
    FROM unnest(v_thresholds) AS t;
    RETURN NEW;
END
$$;

CREATE TRIGGER accounts_thresholds BEFORE UPDATE ON credits.accounts FOR EACH ROW
WHEN (NEW.balance - NEW.reserved_funds < NEW.alert_below OR NEW.balance - NEW.reserved_funds >= NEW.alert_above)
EXECUTE FUNCTION credits.cross_thresholds();

-- Sets a tenant's rule, or removes it (p_thresholds null). False where there is no such tenant. A threshold that the
-- balance is below already counts from the moment when the balance has been above it.
CREATE FUNCTION credits.set_alerts(
    p_tenant_id text, p_thresholds bigint[], p_webhook_url text, p_secret_version integer)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM credits.accounts WHERE tenant_id = p_tenant_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_thresholds IS NULL THEN
        DELETE FROM credits.alert_rules WHERE tenant_id = p_tenant_id;
        UPDATE credits.alerts SET next_attempt_at = NULL, problem = 'the rule was removed'
        WHERE tenant_id = p_tenant_id AND next_attempt_at IS NOT NULL;
    ELSE
        INSERT INTO credits.alert_rules (tenant_id, thresholds, webhook_url, secret_version)
        VALUES (p_tenant_id, p_thresholds, p_webhook_url, p_secret_version)
        ON CONFLICT (tenant_id) DO UPDATE
        SET thresholds = excluded.thresholds, webhook_url = excluded.webhook_url,
            secret_version = excluded.secret_version, updated_at = clock_timestamp();
    END IF;
    UPDATE credits.accounts
    SET (alert_below, alert_above) = (
        SELECT max(t) FILTER (WHERE t <= balance - reserved_funds), min(t) FILTER (WHERE t > balance - reserved_funds)
        FROM unnest(p_thresholds) AS t)
    WHERE tenant_id = p_tenant_id;
    RETURN true;
END
$$;
