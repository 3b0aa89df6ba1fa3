-- How many requests a key may make in 10 s.
--
-- Expand only: the release before neither reads nor writes it.

ALTER TABLE credits.api_keys ADD COLUMN rate_limit integer CHECK (rate_limit > 0);
COMMENT ON COLUMN credits.api_keys.rate_limit IS 'requests in 10 s, in each replica; null: the service''s own limit';
