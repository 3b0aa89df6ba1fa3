"""What a BackupPolicy is made of beside Backups: the shipper, and the Jobs of drills and pruning. Pure."""

from typing import Final

from shieldx_contract import SECRET_URI_KEY, SECRETS_DIR
from shieldx_contract.backup import (
    ENV_BACKUP_KEEP_AUDIT_DAYS,
    ENV_BACKUP_KEEP_DAYS,
    ENV_BACKUP_SCRATCH_DATABASE_BYTES,
    ENV_BACKUP_SCRATCH_URI_FILE,
)
from shieldx_operator.api.backupparts import Stores
from shieldx_operator.blocks import backup
from shieldx_operator.blocks.backup import Work
from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.quantity import size_bytes
from shieldx_operator.blocks.resources import DEPLOYMENT
from shieldx_operator.blocks.workload import (
    Volumes,
    container_security,
    digest,
    exec_probes,
    pin_template,
    scratch_volume,
    secret_volume,
)
from shieldx_operator.engine.types import GeneratedSecret, Obj, Observation
from shieldx_operator.kinds.backuppolicy.due import Due
from shieldx_operator.kinds.backuppolicy.view import BACKUP_RESOURCE, DRILL, PRUNE, SHIP, Group, View, text_of

PRUNED: Final = ("database", "cache", "audit")
"""Each has a container of its own in the pruning's pod, named after it."""
_SCRATCH_SECRET_DIR: Final = f"{SECRETS_DIR}/scratch"
_POSTGRES_UID: Final = 999
_DATA: Final = "/var/lib/postgresql/data"
_DEADLINE_MARGIN_S: Final = 60


def frame(v: View, group: Group, ways: Stores, seen: Observation) -> list[Obj]:
    """Account and policies of one group of pods: as long-lived as the policy."""
    work = v.work(group, ways)
    return [backup.account(work), *backup.network(work, seen)]


def due_backup(v: View, due: Due) -> Obj:
    """The Backup that takes a due time up. Its name holds the time: it is made once, whoever makes it."""
    labels = v.service.labels("copy")
    return obj(
        BACKUP_RESOURCE,
        {"name": due.name, "namespace": v.service.namespace, "labels": labels},
        spec={"policyRef": {"name": v.service.name}, "stream": due.what, "scheduledAt": text_of(due.at)},
    )


def scratch_secret(v: View) -> GeneratedSecret:
    """The password of the database that a drill restores into, and its URI inside of the pod."""
    return GeneratedSecret(
        metadata=v.service.metadata(f"-{DRILL}", DRILL),
        random={"password": 32},
        derived={SECRET_URI_KEY: "postgresql://postgres:{password}@127.0.0.1:5432/postgres"},
    )


def drill(v: View, due: Due, ways: Stores) -> Obj:
    """A restore into a PostgreSQL of the pod's own, which nobody else reaches and which goes with the pod."""
    work = v.work(DRILL, ways)
    scratch = secret_volume("scratch-secret", v.scratch_secret.name, _SCRATCH_SECRET_DIR, ("password", SECRET_URI_KEY))
    room = (
        scratch_volume("pgdata", _DATA, v.effective.drill.scratch_size)
        + scratch_volume("pgrun", "/var/run/postgresql", "8Mi")
        + scratch_volume("pgtmp", "/tmp", "64Mi")  # noqa: S108 - a mount point in the pod
    )
    env = {
        ENV_BACKUP_SCRATCH_URI_FILE: f"{_SCRATCH_SECRET_DIR}/{SECRET_URI_KEY}",
        ENV_BACKUP_SCRATCH_DATABASE_BYTES: str(size_bytes(v.effective.drill.scratch_size)),
    }
    run = backup.container(work, ("drill",), env, scratch.mounts)
    more = Volumes(scratch.volumes + room.volumes)
    pod = backup.template(work, [run], init=[_postgres(v, scratch, room)], more=more)
    return _job(work, due, pod, v.effective.deadline_seconds)


def _postgres(v: View, scratch: Volumes, room: Volumes) -> Obj:
    """A sidecar: it is up before the drill begins and ends after it."""
    ready = exec_probes(("pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"))
    return {
        "name": "postgres",
        "image": v.effective.drill.image or v.settings.postgres_image,
        "imagePullPolicy": v.effective.image.pull_policy or v.settings.image_pull_policy,
        "restartPolicy": "Always",
        "args": [
            *("postgres", "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=64MB"),
            # a scratch database: what a power cut would cost is another drill
            *("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
            # its log of changes counts against the volume's limit: `room.SERVER_BYTES` is what it may take
            *("-c", "max_wal_size=96MB", "-c", "min_wal_size=32MB"),
        ],
        "env": [
            {"name": "POSTGRES_USER", "value": "postgres"},
            {"name": "POSTGRES_PASSWORD_FILE", "value": f"{_SCRATCH_SECRET_DIR}/password"},
            {"name": "PGDATA", "value": f"{_DATA}/pgdata"},
        ],
        "securityContext": {**container_security(), "runAsUser": _POSTGRES_UID, "runAsGroup": _POSTGRES_UID},
        "resources": v.effective.resources.to_json(),
        "startupProbe": ready["startupProbe"],
        "volumeMounts": [*room.mounts, *scratch.mounts],
    }


def prune(v: View, due: Due, ways: Stores) -> Obj:
    work = v.work(PRUNE, ways)
    kept = v.effective.retention
    env = {ENV_BACKUP_KEEP_DAYS: str(kept.days), ENV_BACKUP_KEEP_AUDIT_DAYS: str(kept.audit_days)}
    containers = [backup.container(work, ("prune", "--stream", stream), env, name=stream) for stream in PRUNED]
    return _job(work, due, backup.template(work, containers), v.effective.deadline_seconds, PRUNED)


def _job(work: Work, due: Due, pod: Obj, deadline_s: int, names: tuple[str, ...] = (backup.CONTAINER,)) -> Obj:
    metadata = {**work.metadata(""), "name": due.name}
    if due.for_backup:
        metadata["annotations"] = {"platform.shieldx.io/for-backup": due.for_backup}
    return backup.job(metadata, pod, deadline_s=deadline_s + _DEADLINE_MARGIN_S, names=names)


def shipper(v: View, ways: Stores, live: Obj | None, *, at_work: bool) -> Obj:
    """One pod that ships the audit log; the old one has ended before a new one begins: one writer to a stream."""
    work = v.work(SHIP, ways)
    env = {ENV_BACKUP_KEEP_AUDIT_DAYS: str(v.effective.retention.audit_days)}
    made = obj(
        DEPLOYMENT,
        work.metadata(f"-{SHIP}"),
        spec={
            "replicas": 1 if at_work else 0,
            "selector": {"matchLabels": v.service.selector(SHIP)},
            "revisionHistoryLimit": 1,
            "strategy": {"type": "Recreate"},
            "template": backup.template(work, [backup.container(work, ("ship-audit",), env)]),
        },
    )
    inputs = {"run": v.effective.to_json(), "version": v.version, "stores": ways.to_json()}
    return pin_template(made, live, digest(inputs))
