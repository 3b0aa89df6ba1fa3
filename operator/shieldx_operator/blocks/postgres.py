"""A managed PostgreSQL of one pod: for services that bring no database of their own.

It follows the contract of the public `postgres` image (environment, entry point, UID 999), so that either that
image or one made from distribution packages runs unchanged.
"""

from typing import Final

from shieldx_contract import SECRET_URI_KEY
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.quantity import size_bytes
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.blocks.storage import Store, claim, stateful_set, store_service
from shieldx_operator.blocks.workload import (
    claim_volume,
    exec_probes,
    scratch_volume,
    secret_volume,
)
from shieldx_operator.engine.types import GeneratedSecret, Obj, Ref

SUFFIX: Final = "-db"
SERVICE_SUFFIX: Final = f"{SUFFIX}-service"
COMPONENT: Final = "database"
PORT: Final = 5432
UID: Final = 999
_DATA: Final = "/var/lib/postgresql/data"
_MIN_SHARED_BUFFERS: Final = 16 << 20
_PASSWORD_DIR: Final = "/etc/shieldx/database"  # noqa: S105 - a path
_RUN_DIR: Final = "/var/run/postgresql"
_READY: Final = """
pg_isready -q -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" || exit 1
known=$1/password-in-use.sha256
now=$(sha256sum <"$POSTGRES_PASSWORD_FILE") || exit 0
[ "$now" != "$(cat "$known" 2>/dev/null)" ] || exit 0
export PGUSER="$POSTGRES_USER" PGDATABASE="$POSTGRES_DB"
psql -q -v ON_ERROR_STOP=1 -v owner="$PGUSER" <<'SQL' && echo "$now" >"$known"
SET statement_timeout = '2s';
SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;
\\set password `cat "$POSTGRES_PASSWORD_FILE"`
ALTER ROLE :"owner" PASSWORD :'password';
SQL
exit 0
"""


def readiness(run_dir: str = _RUN_DIR) -> list[str]:
    """The command that says whether the server answers, and lets its owner's password follow the Secret.

    A Secret that was deleted, and so made anew, has a password that the database does not know, and so has one that
    was changed. Nobody but the server's own pod may set it: on its socket the owner needs none. It is set once for
    each password and start; where that fails, the server is no less ready, and the migration says what is wrong.
    """
    return ["sh", "-c", _READY, "readiness", run_dir]


def secret(service: Service, database: str, *, retain: bool) -> GeneratedSecret:
    """The owner, who is made with the server: its generated password and its URI."""
    return _secret(service, SUFFIX, database, database, retain=retain)


def service_secret(service: Service, database: str, *, retain: bool) -> GeneratedSecret:
    """The role that the service connects with: the migration makes it, and gives it the rights that it needs."""
    return _secret(service, SERVICE_SUFFIX, database, f"{database}_service", retain=retain)


def _secret(service: Service, suffix: str, database: str, user: str, *, retain: bool) -> GeneratedSecret:
    return role_secret(service.metadata(suffix, COMPONENT, retain=retain), service, database, user)


def role_secret(metadata: Obj, service: Service, database: str, user: str) -> GeneratedSecret:
    """A role of the database that `service` runs: its generated password and its URI."""
    host = service.host(SUFFIX)
    return GeneratedSecret(
        metadata=metadata,
        random={"password": 32},
        derived={
            "username": user,
            "database": database,
            "host": host,
            "port": str(PORT),
            SECRET_URI_KEY: f"postgresql://{user}:{{password}}@{host}:{PORT}/{database}",
        },
    )


def shared_buffers(resources: Obj) -> str:
    """A quarter of the pod's memory, as PostgreSQL's manual advises.

    With less, the cost of a consume grows with the tables, whose indexes no longer fit.
    """
    memory = resources.get("limits", {}).get("memory") or resources.get("requests", {}).get("memory")
    return f"{max(_MIN_SHARED_BUFFERS, size_bytes(memory) // 4) >> 20}MB" if memory else "128MB"


def secret_ref(service: Service) -> Ref:
    return Ref(SECRET, service.namespace, f"{service.name}{SUFFIX}")


def build(  # noqa: PLR0913 - each is one choice of the user's spec
    service: Service,
    *,
    database: str,
    image: str,
    pull_policy: str,
    size: str,
    storage_class: str | None,
    resources: Obj,
    retain: bool,
    scheduling: Obj,
    pull_secrets: tuple[Obj, ...] = (),
) -> list[Obj | GeneratedSecret]:
    """Secrets, claim, Service and StatefulSet. `retain` keeps the passwords and the data when the owner goes."""
    name = f"{service.name}{SUFFIX}"
    # over TCP: the entry point of a first start listens on the socket alone and would look ready too early
    probes = exec_probes(("pg_isready", "-q", "-h", "127.0.0.1", "-U", database, "-d", database))
    probes["readinessProbe"]["exec"] = {"command": readiness()}
    store = Store(
        component=COMPONENT,
        image=image,
        pull_policy=pull_policy,
        uid=UID,
        port=PORT,
        args=("postgres", "-c", f"shared_buffers={shared_buffers(resources)}", "-c", "max_connections=200"),
        env=(
            {"name": "POSTGRES_USER", "value": database},
            {"name": "POSTGRES_DB", "value": database},
            {"name": "POSTGRES_PASSWORD_FILE", "value": f"{_PASSWORD_DIR}/password"},
            {"name": "POSTGRES_INITDB_ARGS", "value": "--auth-host=scram-sha-256 --data-checksums"},
            {"name": "PGDATA", "value": f"{_DATA}/pgdata"},
        ),
        probes=probes,
        volumes=claim_volume("data", name, _DATA)
        + secret_volume("password", name, _PASSWORD_DIR, ("password",))
        + scratch_volume("run", _RUN_DIR, "8Mi")
        + scratch_volume("tmp", "/tmp", "64Mi"),  # noqa: S108 - a mount point in the pod
        resources=resources,
        grace_s=60,
        scheduling=scheduling,
        pull_secrets=pull_secrets,
    )
    return [
        secret(service, database, retain=retain),
        service_secret(service, database, retain=retain),
        claim(service.metadata(SUFFIX, COMPONENT, retain=retain), size=size, storage_class=storage_class),
        store_service(service, SUFFIX, store),
        stateful_set(service, SUFFIX, store),
    ]
