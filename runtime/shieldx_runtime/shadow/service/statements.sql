-- name: insert_samples
INSERT INTO shadow.samples (tenant_id, line) SELECT $1, unnest($2::bytea[]);

-- name: samples_page
SELECT id, line FROM shadow.samples
WHERE tenant_id = $1 AND id > $2 AND received_at >= now() - make_interval(secs => $3)
ORDER BY id LIMIT $4;

-- name: insert_evaluation
INSERT INTO shadow.evaluations (eval_id, tenant_id, question, status) VALUES ($1, $2, $3, 'queued');

-- name: seen
UPDATE shadow.evaluations SET status = $2, seen_at = now()
WHERE eval_id = $1 AND status IN ('queued', 'running') RETURNING eval_id;

-- name: finish
UPDATE shadow.evaluations
SET status = $2, finished_at = now(), seen_at = now(), digest = $3, answer = $4, mistakes = $5, error = $6
WHERE eval_id = $1 AND status IN ('queued', 'running');

-- name: cached
SELECT answer, mistakes FROM shadow.evaluations
WHERE tenant_id = $1 AND digest = $2 AND status = 'completed' AND finished_at >= now() - make_interval(secs => $3)
ORDER BY finished_at DESC LIMIT 1;

-- name: evaluation
SELECT eval_id, tenant_id, status, answer, mistakes, error, seen_at < now() - make_interval(secs => $3) AS lost
FROM shadow.evaluations WHERE eval_id = $1 AND ($2::text IS NULL OR tenant_id = $2);

-- name: forget_samples
DELETE FROM shadow.samples WHERE id IN (
    SELECT id FROM shadow.samples WHERE received_at < now() - make_interval(secs => $1) LIMIT $2
) RETURNING id;

-- name: forget_evaluations
DELETE FROM shadow.evaluations WHERE eval_id IN (
    SELECT eval_id FROM shadow.evaluations WHERE asked_at < now() - make_interval(secs => $1) LIMIT $2
) RETURNING eval_id;
