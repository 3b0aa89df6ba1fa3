-- Rules of low balances and the outbox of alerts.

-- name: set_rule
SELECT credits.set_alerts($1, $2, $3, $4) AS known;

-- name: rule
SELECT a.tenant_id, r.thresholds, r.webhook_url, r.secret_version,
       (SELECT count(*) FROM credits.alerts o WHERE o.tenant_id = a.tenant_id AND o.next_attempt_at IS NOT NULL)
           AS pending,
       last.crossed_at, last.delivered_at, last.problem
FROM credits.accounts a
LEFT JOIN credits.alert_rules r USING (tenant_id)
LEFT JOIN LATERAL (
    SELECT crossed_at, delivered_at, problem FROM credits.alerts o
    WHERE o.tenant_id = a.tenant_id ORDER BY crossed_at DESC LIMIT 1) AS last ON true
WHERE a.tenant_id = $1;

-- name: claim
-- Takes what is due for $2 seconds: who dies meanwhile leaves it to others after that.
UPDATE credits.alerts o
SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + make_interval(secs => $2)
FROM credits.alert_rules r
WHERE r.tenant_id = o.tenant_id AND o.alert_id IN (
    SELECT alert_id FROM credits.alerts
    -- one without a rule could not be sent, and would stand before all others for ever
    WHERE next_attempt_at <= clock_timestamp() AND tenant_id IN (SELECT tenant_id FROM credits.alert_rules)
    ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING o.alert_id, o.tenant_id, o.threshold, o.available, o.balance, o.version, o.crossed_at, o.attempts,
          r.webhook_url, r.secret_version;

-- name: delivered
UPDATE credits.alerts SET delivered_at = clock_timestamp(), next_attempt_at = NULL, problem = NULL WHERE alert_id = $1;

-- name: failed
-- $2: seconds until it is tried again; null: it is given up. One whose rule was removed meanwhile stays at its end.
UPDATE credits.alerts
SET next_attempt_at = clock_timestamp() + make_interval(secs => $2), problem = $3
WHERE alert_id = $1 AND next_attempt_at IS NOT NULL;

-- name: forget
-- Ended ones that are older than $1 days, at most $2.
DELETE FROM credits.alerts WHERE alert_id IN (
    SELECT alert_id FROM credits.alerts
    WHERE next_attempt_at IS NULL AND crossed_at < now() - make_interval(days => $1) LIMIT $2);
