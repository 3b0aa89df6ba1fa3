-- What an evaluation costs its tenant, and how far its payment is. Who dies in between leaves the row behind, and any
-- replica goes on from it. A row is made with its evaluation and comes to an end of its own:
--   reserving -> held -> committing -> committed         an answer was found
--   reserving -> held -> cancelling -> cancelled         it failed, was cancelled, was lost, or judged nothing
--   reserving -> refused                                 the tenant has not enough
--   committing, cancelling -> lapsed                     the hold had come to its end by itself
-- Expand only: the release before neither makes nor reads such rows.
CREATE TABLE shadow.charges (
    eval_id        uuid PRIMARY KEY REFERENCES shadow.evaluations ON DELETE CASCADE,
    tenant_id      text NOT NULL,
    state          text NOT NULL CHECK (state IN ('reserving', 'held', 'committing', 'cancelling',
                                                  'committed', 'cancelled', 'refused', 'lapsed')),
    most           bigint NOT NULL CHECK (most > 0),
    hold_s         integer NOT NULL,
    owed           bigint NOT NULL DEFAULT 0,
    reservation_id uuid,
    hold_until     timestamptz,
    problem        text NOT NULL DEFAULT '',
    tries          integer NOT NULL DEFAULT 0,
    next_try_at    timestamptz NOT NULL DEFAULT now(),
    asked_at       timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX charges_to_settle ON shadow.charges (next_try_at) WHERE state IN ('committing', 'cancelling');
CREATE INDEX charges_unsettled ON shadow.charges (asked_at) WHERE state IN ('reserving', 'held');
CREATE INDEX evaluations_unfinished ON shadow.evaluations (seen_at) WHERE status IN ('queued', 'running');
