"""Pods that make, prove, prune, ship and restore copies: the same command line, told where and by which keys.

They have no token of Kubernetes' and may reach the stores, the destination and the names' server, nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from shieldx_contract import (
    API_GROUP,
    CACHE_SECRET_DIR,
    DATABASE_SECRET_DIR,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    RUNTIME_UID,
    S3_SECRET_DIR,
    SECRET_S3_ACCESS_KEY_ID,
    SECRET_S3_SECRET_ACCESS_KEY,
    SECRETS_DIR,
)
from shieldx_contract import backup as contract
from shieldx_operator.api.backupdefaults import EffectiveRun
from shieldx_operator.api.backupparts import Stores
from shieldx_operator.blocks import stores as ways
from shieldx_operator.blocks.meta import Service, obj
from shieldx_operator.blocks.network import DNS, Rule, policy
from shieldx_operator.blocks.quantity import size_bytes
from shieldx_operator.blocks.resources import JOB, SECRET, SERVICE_ACCOUNT
from shieldx_operator.blocks.workload import (
    Volumes,
    claim_volume,
    config_volume,
    container_security,
    pod_security,
    scratch_volume,
    secret_volume,
)
from shieldx_operator.engine.types import Obj, Observation, Ref

APP: Final = "backup"
CONTAINER: Final = "backup"
SERVICE_LABEL: Final = f"{API_GROUP}/credits-service"
"""On every pod that works on a service's copies: who restores waits until none is left."""
COPIES_DIR: Final = "/var/lib/shieldx/copies"
SCRATCH_DIR: Final = "/var/lib/shieldx/scratch"
KEYS_DIR: Final = f"{SECRETS_DIR}/backup-keys"
CA_DIR: Final = f"{SECRETS_DIR}/backup-ca"
TERMINATION_LOG: Final = "/dev/termination-log"
RETRIES: Final = 3
TTL_S: Final = 86_400
HOPELESS: Final = (
    contract.EXIT_SETTINGS,
    contract.EXIT_WRONG_KEY,
    contract.EXIT_DEADLINE,
    contract.EXIT_NOT_FOUND,
    contract.EXIT_NOT_PROVED,
    contract.EXIT_GAP,
    contract.EXIT_NO_SPACE,
    contract.EXIT_REFUSED,
)
"""Exit codes after which a repetition by itself cannot help."""
HOPELESS_FOR_COPIES: Final = (*HOPELESS, contract.EXIT_DAMAGED)
"""The same for what reads a copy that is there: damage stays. A run that reads damage back makes another copy."""
_HTTPS_PORT: Final = 443
_HTTP_PORT: Final = 80
_ANYWHERE: Final = [
    # any address but those of the machine's own services, such as a cloud's metadata
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}},
]


@dataclass(frozen=True, slots=True)
class Work:
    """What one group of such pods is: whose they are, which component, what they work on.

    `service` names their own object, `origin` is the `<namespace>.<name>` whose copies they are, `target` the
    CreditsService whose stores they reach. `opens` is whether they work on copies: else they get no key and no
    destination.
    """

    service: Service
    component: str
    run: EffectiveRun
    stores: Stores
    target: str
    image: str
    pull_policy: str
    reaches: tuple[str, ...] = ("database",)
    scratch_size: str = "64Mi"
    opens: bool = True

    @property
    def origin(self) -> str:
        return f"{self.service.namespace}.{self.run.service_name}"

    @property
    def credits(self) -> Service:
        return Service(self.service.namespace, self.target, ways.CREDITS_APP)

    @property
    def labels(self) -> dict[str, str]:
        return {**self.service.labels(self.component), SERVICE_LABEL: self.target}

    def metadata(self, suffix: str) -> Obj:
        return {**self.service.metadata(suffix, self.component), "labels": self.labels}


@dataclass(frozen=True, slots=True)
class Needed:
    """A Secret that must be there with these keys, and the field that names it. No keys: any."""

    secret: Ref
    keys: tuple[str, ...]
    where: str


def needed(namespace: str, run: EffectiveRun, stores: Stores, reaches: Sequence[str]) -> list[Needed]:
    """All Secrets that a pod mounts: without one of them it would hang in ContainerCreating and say nothing."""
    keys = (run.encryption.active_key,) if run.encryption.active_key else ()
    found = [Needed(Ref(SECRET, namespace, run.encryption.secret_ref.name), keys, "spec.encryption.secretRef")]
    s3 = run.destination.s3
    if s3 and s3.credentials:
        pair = (SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY)
        found.append(Needed(Ref(SECRET, namespace, s3.credentials.name), pair, "spec.destination.s3.credentials"))
    for store in reaches:
        place = ways.address(stores, store)
        secret = Ref(SECRET, namespace, place.secret_name)
        found.append(Needed(secret, (place.key,), f"the {store} of the CreditsService"))
    return found


def secrets(namespace: str, run: EffectiveRun, stores: Stores, reaches: Sequence[str]) -> list[Ref]:
    return [n.secret for n in needed(namespace, run, stores, reaches)]


def problem(work: "Work", seen: Observation) -> tuple[str, str] | None:
    """Reason and message where a Secret is missing; None where nothing speaks against a run."""
    for n in needed(work.service.namespace, work.run, work.stores, work.reaches):
        held = seen.objects.get(n.secret)
        if held is None:
            return "SecretNotFound", f"{n.where}: {n.secret} does not exist; create it, or correct the name"
        data = held.get("data") or {}
        missing = next((k for k in n.keys if k not in data), None)
        if missing is not None:
            return "SecretKeyMissing", f"{n.where}: {n.secret} has no key {missing!r}; add it"
        if not data:
            return "SecretKeyMissing", f"{n.where}: {n.secret} is empty; add a key: 32 bytes in base64 under its id"
    return None


def account(work: Work) -> Obj:
    return obj(SERVICE_ACCOUNT, work.metadata(f"-{work.component}"), automountServiceAccountToken=False)


def network(work: Work, seen: Observation) -> list[Obj]:
    """What these pods may reach, and the way in at each managed store that they do."""
    pods = work.service.selector(work.component)
    out = [ways.way_out(work.credits, work.stores, store, seen) for store in work.reaches]
    s3 = work.run.destination.s3
    to_copies = [_to_s3(s3.endpoint)] if s3 else []
    policies = [policy(work.metadata(f"-{work.component}"), pods, egress=[DNS, *out, *to_copies])]
    for store in work.reaches:
        if ways.address(work.stores, store).managed:
            metadata = work.metadata(f"-{work.component}-to-{store}")
            policies.append(ways.way_in(metadata, work.credits, store, pods))
    return policies


def _to_s3(endpoint: str) -> Rule:
    """The store's port at any address: a policy knows no host names."""
    parts = urlsplit(endpoint)
    port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT)
    return {"to": list(_ANYWHERE), "ports": [{"protocol": "TCP", "port": port}]}


def environment(work: Work) -> dict[str, str]:
    """Names of files and of the destination. No secret stands in it."""
    env = {contract.ENV_BACKUP_RESULT_FILE: TERMINATION_LOG}
    if work.opens:
        env |= {
            contract.ENV_BACKUP_SERVICE: work.origin,
            contract.ENV_BACKUP_KEYS_DIR: KEYS_DIR,
            contract.ENV_BACKUP_SCRATCH_DIR: SCRATCH_DIR,
            contract.ENV_BACKUP_SCRATCH_BYTES: str(size_bytes(work.scratch_size)),
            contract.ENV_BACKUP_DEADLINE_S: str(work.run.deadline_seconds),
            **_destination(work.run),
        }
    if work.opens and work.run.encryption.active_key:
        env[contract.ENV_BACKUP_KEY_ID] = work.run.encryption.active_key
    files = {"database": (ENV_DATABASE_URI_FILE, DATABASE_SECRET_DIR), "cache": (ENV_CACHE_URI_FILE, CACHE_SECRET_DIR)}
    for store in work.reaches:
        variable, folder = files[store]
        env[variable] = f"{folder}/{ways.address(work.stores, store).key}"
    return env


def _destination(run: EffectiveRun) -> dict[str, str]:
    s3, volume = run.destination.s3, run.destination.persistent_volume_claim
    if volume is not None:
        return {contract.ENV_BACKUP_DESTINATION: f"file://{COPIES_DIR}{f'/{volume.path}' if volume.path else ''}"}
    if s3 is None:
        return {}
    env = {
        contract.ENV_BACKUP_DESTINATION: f"s3://{s3.bucket}{f'/{s3.prefix}' if s3.prefix else ''}",
        contract.ENV_BACKUP_S3_ENDPOINT: s3.endpoint,
        contract.ENV_BACKUP_S3_PATH_STYLE: "false" if s3.path_style is False else "true",
    }
    if s3.region:
        env[contract.ENV_BACKUP_S3_REGION] = s3.region
    if s3.ca_bundle:
        env[contract.ENV_BACKUP_S3_CA_FILE] = f"{CA_DIR}/{s3.ca_bundle.key}"
    if s3.credentials:
        env[contract.ENV_BACKUP_S3_CREDENTIALS_DIR] = S3_SECRET_DIR
    return env


def location(run: EffectiveRun, namespace: str, stream: str, backup_id: str) -> str:
    """Folder of a copy, as a person finds it at the destination."""
    where = _destination(run)[contract.ENV_BACKUP_DESTINATION].removeprefix(f"file://{COPIES_DIR}")
    claim = run.destination.persistent_volume_claim
    root = f"claim {claim.claim_name}: {where.strip('/')}" if claim else where
    return f"{root.rstrip('/')}/{namespace}.{run.service_name}/{stream}/{backup_id}/".replace(": /", ": ")


def volumes(work: Work) -> Volumes:
    found = scratch_volume("tmp", "/tmp", "64Mi")  # noqa: S108 - a mount point in the pod
    folders = {"database": DATABASE_SECRET_DIR, "cache": CACHE_SECRET_DIR}
    for store in work.reaches:
        place = ways.address(work.stores, store)
        found += secret_volume(store, place.secret_name, folders[store], (place.key,))
    return found + _copies(work) if work.opens else found


def _copies(work: Work) -> Volumes:
    """The keys, room for a copy unpacked, and the destination."""
    found = Volumes(
        ({"name": "keys", "secret": {"secretName": work.run.encryption.secret_ref.name, "defaultMode": 0o440}},),
        ({"name": "keys", "mountPath": KEYS_DIR, "readOnly": True},),
    )
    found += scratch_volume("scratch", SCRATCH_DIR, work.scratch_size)
    s3, volume = work.run.destination.s3, work.run.destination.persistent_volume_claim
    if volume is not None:
        found += claim_volume("copies", volume.claim_name, COPIES_DIR)
    if s3 and s3.credentials:
        keys = (SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY)
        found += secret_volume("s3", s3.credentials.name, S3_SECRET_DIR, keys)
    if s3 and s3.ca_bundle:
        found += config_volume("ca", s3.ca_bundle.name, CA_DIR)
    return found


def container(
    work: Work, arguments: Sequence[str], env: Mapping[str, str], mounts: Sequence[Obj] = (), *, name: str = CONTAINER
) -> Obj:
    """One command of the pipeline. Its outcome is its termination message."""
    return {
        "name": name,
        "image": work.image,
        "imagePullPolicy": work.pull_policy,
        "command": [*contract.BACKUP, *arguments, "--json"],
        "env": [{"name": k, "value": v} for k, v in {**environment(work), **env}.items()],
        "resources": work.run.resources.to_json(),
        "securityContext": container_security(),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*volumes(work).mounts, *mounts],
    }


def template(work: Work, containers: Sequence[Obj], *, init: Sequence[Obj] = (), more: Volumes | None = None) -> Obj:
    spec: Obj = {
        "serviceAccountName": work.metadata(f"-{work.component}")["name"],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(RUNTIME_UID),
        "terminationGracePeriodSeconds": 30,
        "containers": list(containers),
        "volumes": [*volumes(work).volumes, *(more.volumes if more else ())],
        **work.run.scheduling.to_json(),
    }
    if init:
        spec["initContainers"] = list(init)
    if work.run.image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": s.name} for s in work.run.image.pull_secrets]
    return {"metadata": {"labels": work.labels}, "spec": spec}


def job(
    metadata: Obj,
    pod: Obj,
    *,
    deadline_s: int,
    names: Sequence[str] = (CONTAINER,),
    hopeless: Sequence[int] = HOPELESS_FOR_COPIES,
) -> Obj:
    """A Job that tries again after what may pass by itself, and not after what only a person can mend.

    `names` are the containers whose exit codes count. A pod that was evicted costs a try: one that fills a volume
    beyond its limit is evicted each time, and would be repeated without an end.
    """
    pod["spec"]["restartPolicy"] = "Never"
    give_up = [
        {"action": "FailJob", "onExitCodes": {"containerName": name, "operator": "In", "values": sorted(hopeless)}}
        for name in names
    ]
    return obj(
        JOB,
        metadata,
        spec={
            "backoffLimit": RETRIES,
            "activeDeadlineSeconds": deadline_s,
            "ttlSecondsAfterFinished": TTL_S,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": give_up},
            "template": pod,
        },
    )
