-- Labelled traffic of tenants, as it was sent, and what was asked of it. Times are the server's: a client's clock may
-- say anything, and decides nothing here.
CREATE TABLE shadow.samples (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    line        bytea NOT NULL
);
CREATE INDEX samples_of_tenant ON shadow.samples (tenant_id, id);
CREATE INDEX samples_by_age ON shadow.samples (received_at);

CREATE TABLE shadow.evaluations (
    eval_id     uuid PRIMARY KEY,
    tenant_id   text NOT NULL,
    question    jsonb NOT NULL,
    status      text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    asked_at    timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    digest      bytea,
    answer      jsonb,
    mistakes    jsonb,
    error       text
);
CREATE INDEX evaluations_by_digest ON shadow.evaluations (tenant_id, digest, finished_at) WHERE status = 'completed';
CREATE INDEX evaluations_by_age ON shadow.evaluations (asked_at);
