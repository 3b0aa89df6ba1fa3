-- What key_reader_grants.sql gives, taken back from a role that is of no service of this database.
REVOKE SELECT ON credits.api_keys FROM <role>;
REVOKE USAGE ON SCHEMA credits FROM <role>;
