-- The roles that services connect with, where they are not the owner. What each may do stands in credits/grants.sql; it
-- is granted anew by each migration and by each restore, which brings no privileges along.
--
-- Expand only: the release before connects as the owner, and does not know of others.

CREATE TABLE credits.service_roles (
    role_name   text PRIMARY KEY,
    admitted_at timestamptz NOT NULL DEFAULT now()
);
