-- What the role of a service may do, and nothing else: <role> is its quoted name. Applied as a whole, in one transaction.
--
-- Entries are only ever added: nobody but the owner can change or remove one. Of accounts, lots, holds, keys and heads
-- it may change what the functions change, by column. What is new in a migration is refused until it stands here.

REVOKE ALL ON ALL TABLES IN SCHEMA credits FROM <role>;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA credits FROM <role>;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA credits FROM <role>;
REVOKE ALL ON SCHEMA credits FROM <role>;
GRANT USAGE ON SCHEMA credits TO <role>;

-- the log of what was moved, and what proves it
GRANT SELECT, INSERT ON
    credits.ledger, credits.chain_links, credits.events, credits.draws, credits.hold_lots, credits.idempotency,
    credits.tree_segments, credits.checkpoints
    TO <role>;

-- what changes with each entry
GRANT SELECT, INSERT ON
    credits.accounts, credits.grants, credits.holds, credits.chain_heads, credits.tree_chains, credits.tree_tiles,
    credits.api_keys, credits.tenant_keys
    TO <role>;
GRANT SELECT ON credits.event_heads, credits.tree, credits.schema_migrations TO <role>;
GRANT UPDATE (balance, reserved_funds, total_spent, total_purchased, total_refunded, total_expired, version,
              next_event_at, alert_below, alert_above) ON credits.accounts TO <role>;
GRANT UPDATE (remaining, held) ON credits.grants TO <role>;
GRANT UPDATE (state, committed) ON credits.holds TO <role>;
GRANT UPDATE (seq, hash) ON credits.chain_heads, credits.event_heads, credits.tree_chains TO <role>;
GRANT UPDATE (size, sealed_at) ON credits.tree TO <role>;
GRANT UPDATE (hashes) ON credits.tree_tiles TO <role>;
GRANT UPDATE (scopes, expires_at, revoked_at, rate_limit) ON credits.api_keys TO <role>;
GRANT UPDATE (master_id, wrapped, destroyed_at) ON credits.tenant_keys TO <role>;

-- no part of the ledger: whom to tell, and what is to be told
GRANT SELECT, INSERT, DELETE ON credits.alert_rules, credits.alerts TO <role>;
GRANT UPDATE (thresholds, webhook_url, secret_version, updated_at) ON credits.alert_rules TO <role>;
GRANT UPDATE (attempts, next_attempt_at, delivered_at, problem) ON credits.alerts TO <role>;

GRANT USAGE ON SEQUENCE credits.chain_ids TO <role>;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA credits TO <role>;

-- Makes and drops partitions, which only the owner may: it does so with the owner's rights, for those alone who are named
-- here, and takes nothing from its caller but a number of days.
ALTER FUNCTION credits.maintain_idempotency(integer) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION credits.maintain_idempotency(integer) FROM PUBLIC;
