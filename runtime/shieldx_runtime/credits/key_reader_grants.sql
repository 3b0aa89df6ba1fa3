-- What the role of another service may do here that takes the keys of tenants: look them up, and nothing else.
GRANT USAGE ON SCHEMA credits TO <role>;
GRANT SELECT ON credits.api_keys TO <role>;
