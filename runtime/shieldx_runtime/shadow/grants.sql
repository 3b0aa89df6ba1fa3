-- What the role of a shadow service may do, and nothing else: <role> is its quoted name. Applied as a whole, in one
-- transaction. What is new in a migration is refused until it stands here.

REVOKE ALL ON ALL TABLES IN SCHEMA shadow FROM <role>;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA shadow FROM <role>;
REVOKE ALL ON SCHEMA shadow FROM <role>;
GRANT USAGE ON SCHEMA shadow TO <role>;
GRANT SELECT ON shadow.schema_migrations TO <role>;

-- traffic and answers are kept for 30 days, by the service itself
GRANT SELECT, INSERT, DELETE ON shadow.samples, shadow.evaluations TO <role>;
GRANT UPDATE (status, seen_at, finished_at, digest, answer, mistakes, error, judged, samples, idempotency_key)
    ON shadow.evaluations TO <role>;

-- a charge goes with its evaluation, never by itself
GRANT SELECT, INSERT ON shadow.charges TO <role>;
GRANT UPDATE (state, owed, reservation_id, hold_until, problem, tries, next_try_at, changed_at)
    ON shadow.charges TO <role>;
