#!/bin/bash
# Makes the data directory once, then becomes the server.
#
# Everything is made in a folder inside the data directory (which may be a mount point and cannot be renamed), marked
# complete, and moved up; PG_VERSION, by which the next start knows a data directory, comes last. A kill at any moment
# leaves a folder that the next start throws away (not complete) or goes on moving (complete), never a half database.
set -euo pipefail

say() { echo "docker-entrypoint: $*" >&2; }

if [ "${1:-}" != postgres ]; then
  exec "$@"
fi

# as process 1 the shell would ignore them; the server that replaces it has its own
trap 'exit 143' TERM
trap 'exit 130' INT

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
work=$PGDATA/.initialising

make_database() {
  if [ -z "${POSTGRES_PASSWORD_FILE:-}" ] || [ ! -r "$POSTGRES_PASSWORD_FILE" ]; then
    say "POSTGRES_PASSWORD_FILE is '${POSTGRES_PASSWORD_FILE:-}': it must name a readable file with the superuser's password"
    exit 1
  fi
  rm -rf "$work"
  mkdir "$work"
  # shellcheck disable=SC2086 -- the variable holds several arguments
  initdb --pgdata="$work/data" --username="$user" --pwfile="$POSTGRES_PASSWORD_FILE" \
    --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust ${POSTGRES_INITDB_ARGS:-} >&2
  # initdb lets the pod's own addresses in; everybody else needs the password
  printf '\nhost all all all scram-sha-256\n' >>"$work/data/pg_hba.conf"
  printf "\nlisten_addresses = '*'\npassword_encryption = 'scram-sha-256'\n" >>"$work/data/postgresql.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s";\n' "${database//\"/\"\"}" |
      postgres --single -j -D "$work/data" postgres >/dev/null
  fi
  sync -f "$work"
  touch "$work/complete"
  sync -f "$work"
}

move_up() {
  find "$work/data" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  sync -f "$PGDATA"
  mv "$work/data/PG_VERSION" "$PGDATA/"
}

mkdir -p "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ ! -e "$work/complete" ]; then
    strange=$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name .initialising ! -name lost+found -printf '%f ')
    if [ -n "$strange" ]; then
      say "PGDATA=$PGDATA holds $strange but no PG_VERSION: not a PostgreSQL data directory, and not touched; empty it," \
        "or name a new folder in PGDATA"
      exit 1
    fi
    make_database
  fi
  move_up
fi
rm -rf "$work"
if ! chmod 0700 "$PGDATA"; then
  say "PGDATA=$PGDATA belongs to $(stat -c %U "$PGDATA"), and PostgreSQL wants it for itself: name a folder inside the volume"
  exit 1
fi
exec "$@"
