-- name: insert_samples
INSERT INTO shadow.samples (tenant_id, line) SELECT $1, unnest($2::bytea[]);

-- name: samples_page
SELECT id, line FROM shadow.samples
WHERE tenant_id = $1 AND id > $2 AND received_at >= now() - make_interval(secs => $3)
ORDER BY id LIMIT $4;

-- name: insert_evaluation
INSERT INTO shadow.evaluations (eval_id, tenant_id, question, status, idempotency_key) VALUES ($1, $2, $3, 'queued', $4)
ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING eval_id;

-- name: asked_before
SELECT eval_id, status, question = $3::jsonb AS same FROM shadow.evaluations
WHERE tenant_id = $1 AND idempotency_key = $2;

-- name: start
UPDATE shadow.evaluations SET status = 'running', seen_at = now()
WHERE eval_id = $1 AND status = 'queued' RETURNING eval_id;

-- name: beat
UPDATE shadow.evaluations e SET seen_at = now(), judged = m.judged, samples = m.samples
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS m (eval_id, judged, samples)
WHERE e.eval_id = m.eval_id AND e.status IN ('queued', 'running') RETURNING e.eval_id;

-- name: finish
-- What the answer costs is written with it: neither is ever there without the other.
WITH ended AS (
    UPDATE shadow.evaluations
    SET status = $2, finished_at = now(), seen_at = now(), digest = $3, answer = $4, mistakes = $5, error = $6,
        judged = coalesce($7, judged), samples = coalesce($7, samples),
        idempotency_key = CASE WHEN $9 THEN NULL ELSE idempotency_key END
    WHERE eval_id = $1 AND status IN ('queued', 'running') RETURNING eval_id
)
UPDATE shadow.charges c
SET state = CASE WHEN $8::bigint > 0 AND c.state = 'held' THEN 'committing' ELSE 'cancelling' END, owed = $8,
    next_try_at = now(), changed_at = now()
FROM ended WHERE c.eval_id = ended.eval_id AND c.state IN ('reserving', 'held');

-- name: cancel
UPDATE shadow.evaluations SET status = 'cancelled', finished_at = now(), seen_at = now()
WHERE eval_id = $1 AND ($2::text IS NULL OR tenant_id = $2) AND status IN ('queued', 'running') RETURNING eval_id;

-- name: cached
SELECT answer, mistakes FROM shadow.evaluations
WHERE tenant_id = $1 AND digest = $2 AND status = 'completed' AND finished_at >= now() - make_interval(secs => $3)
ORDER BY finished_at DESC LIMIT 1;

-- name: evaluation
SELECT e.eval_id, e.tenant_id, e.status, e.answer, e.mistakes, e.error, e.judged, e.samples,
    e.seen_at < now() - make_interval(secs => $3) AS lost, c.state AS charge, c.most, c.owed
FROM shadow.evaluations e LEFT JOIN shadow.charges c ON c.eval_id = e.eval_id
WHERE e.eval_id = $1 AND ($2::text IS NULL OR e.tenant_id = $2);

-- name: forget_samples
DELETE FROM shadow.samples WHERE id IN (
    SELECT id FROM shadow.samples WHERE received_at < now() - make_interval(secs => $1) LIMIT $2
) RETURNING id;

-- name: forget_evaluations
DELETE FROM shadow.evaluations WHERE eval_id IN (
    SELECT eval_id FROM shadow.evaluations WHERE asked_at < now() - make_interval(secs => $1) LIMIT $2
) RETURNING eval_id;
