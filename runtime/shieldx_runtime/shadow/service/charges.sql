-- name: open
WITH asked AS (
    INSERT INTO shadow.evaluations (eval_id, tenant_id, question, status, idempotency_key)
    VALUES ($1, $2, $3, 'queued', $6)
    ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING eval_id, tenant_id
)
INSERT INTO shadow.charges (eval_id, tenant_id, state, most, hold_s)
SELECT eval_id, tenant_id, 'reserving', $4, $5 FROM asked RETURNING eval_id;

-- name: record
UPDATE shadow.charges
SET state = $3, reservation_id = $4, hold_until = $5, problem = $6, changed_at = now(),
    tries = CASE WHEN state = $3 THEN tries ELSE 0 END, next_try_at = now() + make_interval(secs => $7)
WHERE eval_id = $1 AND state = $2 RETURNING eval_id;

-- name: end_lost
-- Nobody works on them any more: their process is gone.
UPDATE shadow.evaluations SET status = 'failed', finished_at = now(), error = $2
WHERE eval_id IN (
    SELECT eval_id FROM shadow.evaluations
    WHERE status IN ('queued', 'running') AND seen_at < now() - make_interval(secs => $1)
    ORDER BY seen_at LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING eval_id;

-- name: cancel_ended
-- Evaluations that came to an end and owe nothing. What is owed is written with the answer, in one statement.
UPDATE shadow.charges SET state = 'cancelling', next_try_at = now(), changed_at = now()
WHERE state IN ('reserving', 'held') AND eval_id IN (
    SELECT c.eval_id FROM shadow.charges c JOIN shadow.evaluations e USING (eval_id)
    WHERE c.state IN ('reserving', 'held') AND e.status NOT IN ('queued', 'running') LIMIT $1
) RETURNING eval_id;

-- name: claim
-- Whoever takes one has it to itself for a while; a crash gives it back by then. The keys of its calls would keep two
-- from doing harm. One of which nobody knows whether its hold was made waits for the older ones of its tenant: to find
-- out may make it, and many such holds at a time would leave nothing to those who ask.
UPDATE shadow.charges SET tries = tries + 1, next_try_at = now() + make_interval(secs => $1)
WHERE eval_id IN (
    SELECT eval_id FROM shadow.charges c
    WHERE state IN ('committing', 'cancelling') AND next_try_at <= now()
      AND (reservation_id IS NOT NULL OR now() > asked_at + make_interval(secs => hold_s + $3::float8) OR NOT EXISTS (
          SELECT FROM shadow.charges o
          WHERE o.tenant_id = c.tenant_id AND o.state = 'cancelling' AND (o.asked_at, o.eval_id) < (c.asked_at, c.eval_id)
            AND now() <= o.asked_at + make_interval(secs => o.hold_s + $3::float8)))
    ORDER BY next_try_at LIMIT $2 FOR UPDATE SKIP LOCKED
) RETURNING eval_id, tenant_id, state, most, hold_s, owed, reservation_id, hold_until, problem, tries,
    now() > asked_at + make_interval(secs => hold_s + CASE WHEN reservation_id IS NULL THEN $3::float8 ELSE $4::float8 END) AS over;
