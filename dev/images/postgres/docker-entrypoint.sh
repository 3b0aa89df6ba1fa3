#!/bin/bash
# Makes the data directory once, then becomes the server.
#
# The directory is made beside its final name and renamed when it is complete: a kill at any moment leaves either
# nothing or a whole cluster, never a half one that the next start would take for data.
set -euo pipefail

if [ "${1:-}" != postgres ]; then
  exec "$@"
fi

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

initialise() {
  local making="$PGDATA.making"
  rm -rf "$making"
  if [ -z "${POSTGRES_PASSWORD_FILE:-}" ]; then
    echo "POSTGRES_PASSWORD_FILE is not set: name a file that holds the superuser's password" >&2
    exit 1
  fi
  # shellcheck disable=SC2086 -- the variable holds several arguments
  initdb --pgdata="$making" --username="$user" --pwfile="$POSTGRES_PASSWORD_FILE" \
    --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust ${POSTGRES_INITDB_ARGS:-} >&2
  # the container's own loopback is as good as the socket; everything else needs the password
  printf 'local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all all scram-sha-256\n' >"$making/pg_hba.conf"
  printf "listen_addresses = '*'\n" >>"$making/postgresql.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s";\n' "${database//\"/\"\"}" |
      postgres --single -D "$making" postgres >/dev/null
  fi
  sync
  mv "$making" "$PGDATA"
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -d "$PGDATA" ] && [ -n "$(ls -A "$PGDATA")" ]; then
    echo "$PGDATA holds files but no PG_VERSION: not a PostgreSQL data directory; refusing to touch it" >&2
    exit 1
  fi
  [ ! -d "$PGDATA" ] || rmdir "$PGDATA"
  initialise
fi
chmod 0700 "$PGDATA"
exec "$@"
