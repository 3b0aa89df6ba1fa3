-- The key under which an evaluation was asked for: the same question under it is that evaluation, not a second one.
-- Set free again where the evaluation was refused, so that the question may be asked again under it.
-- Expand only: the release before asks without keys.
ALTER TABLE shadow.evaluations ADD COLUMN idempotency_key uuid;
CREATE UNIQUE INDEX evaluations_by_key ON shadow.evaluations (tenant_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
