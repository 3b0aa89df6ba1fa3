-- The roles that services connect with, where they are not the owner. What each may do stands in shadow/grants.sql.
--
-- Expand only: the release before connects as the owner, and does not know of others.
CREATE TABLE shadow.service_roles (
    role_name   text PRIMARY KEY,
    admitted_at timestamptz NOT NULL DEFAULT now()
);
