"""What an evaluation is made of while it runs: an account, a policy, a task, and a Job. Pure."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from shieldx_contract import (
    API_GROUP,
    ENV_SHADOW_EVALUATION,
    ENV_SHADOW_EVALUATION_UID,
    ENV_SHADOW_QUESTION,
    ENV_SHADOW_S3_CREDENTIALS_DIR,
    ENV_SHADOW_TASK_FILE,
    RUNTIME_UID,
    S3_SECRET_DIR,
    SECRET_S3_ACCESS_KEY_ID,
    SECRET_S3_SECRET_ACCESS_KEY,
    SHADOW_DATA_DIR,
    SHADOW_EVALUATIONS,
    SHADOW_GIVE_UP_EXIT_CODE,
    SHADOW_TASK_DIR,
    SHADOW_TASK_KEY,
    SHADOW_WORK,
)
from shieldx_operator.blocks import access, apiserver
from shieldx_operator.blocks.job import Indexed, indexed_job
from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.network import DNS, Rule, policy
from shieldx_operator.blocks.resources import CONFIG_MAP
from shieldx_operator.blocks.workload import (
    Volumes,
    claim_volume,
    config_volume,
    container_security,
    pin_template,
    pod_security,
    scratch_volume,
    secret_volume,
)
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.shadowevaluation import task
from shieldx_operator.kinds.shadowevaluation.view import WORKER, View
from shieldx_operator.settings import OperatorSettings

CONTAINER: Final = "worker"
_ANYWHERE: Final = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}
_ANYWHERE_V6: Final = {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}}
"""Any address but those of the machine's own services, such as a cloud's metadata."""
_HTTPS_PORT: Final = 443
_HTTP_PORT: Final = 80


def everything(v: View, settings: OperatorSettings, slices: Sequence[Obj], live_job: Obj | None) -> list[Obj]:
    """All of it, in an order in which nothing runs before it may do what it must."""
    return [
        *account(v),
        network(v, slices),
        task_document(v),
        pin_template(job(v, settings), live_job, v.run),
    ]


def account(v: View) -> list[Obj]:
    """May write the status of its own evaluation. The admission policy confines it there to its shard's entry."""
    metadata = {**v.service.metadata("", WORKER), "name": v.worker_name}
    return access.account(
        metadata,
        [access.rule(API_GROUP, f"{SHADOW_EVALUATIONS}/status", ("patch",), names=(v.service.name,))],
    )


def network(v: View, slices: Sequence[Obj]) -> Obj:
    """Nobody calls a worker. It calls the API server, and where its data is there, the store."""
    to_data = [DNS, _to_s3(v.effective.data.s3.endpoint)] if v.effective.data.s3 else []
    return policy(
        {**v.service.metadata("", WORKER), "name": v.worker_name},
        v.service.selector(WORKER),
        egress=[*apiserver.egress_rules(slices), *to_data],
    )


def _to_s3(endpoint: str) -> Rule:
    """The store's port at any address: a policy knows no host names."""
    parts = urlsplit(endpoint)
    port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT)
    return {"to": [_ANYWHERE, _ANYWHERE_V6], "ports": [{"protocol": "TCP", "port": port}]}


def task_document(v: View) -> Obj:
    return obj(
        CONFIG_MAP,
        {**v.service.metadata("", WORKER), "name": v.run_name},
        data={SHADOW_TASK_KEY: task.text(v)},
    )


def job(v: View, settings: OperatorSettings) -> Obj:
    e = v.effective
    how = Indexed(
        completions=e.shards,
        parallelism=min(e.parallelism, e.shards),
        backoff_limit=e.backoff_limit_per_index,
        deadline_s=e.deadline_seconds,
        ttl_s=e.ttl_seconds_after_finished,
        give_up_exit_code=SHADOW_GIVE_UP_EXIT_CODE,
    )
    metadata = {**v.service.metadata("", WORKER), "name": v.run_name}
    return indexed_job(metadata, CONTAINER, _template(v, settings), how, suspend=e.suspend)


def _template(v: View, settings: OperatorSettings) -> Obj:
    e = v.effective
    volumes = _volumes(v)
    container = {
        "name": CONTAINER,
        "image": v.image,
        "imagePullPolicy": e.image.pull_policy or settings.image_pull_policy,
        "command": list(SHADOW_WORK),
        "env": [{"name": name, "value": value} for name, value in _environment(v).items()],
        "resources": e.resources.to_json(),
        "securityContext": container_security(),
        # the last words of a failed worker are the message of the condition: no permission to read logs is needed
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(volumes.mounts),
    }
    spec: Obj = {
        "restartPolicy": "Never",
        "serviceAccountName": v.worker_name,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": pod_security(RUNTIME_UID),
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": list(volumes.volumes),
        **e.scheduling.to_json(),
    }
    if e.image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": s.name} for s in e.image.pull_secrets]
    return {"metadata": {"labels": v.service.labels(WORKER)}, "spec": spec}


def _environment(v: View) -> dict[str, str]:
    found = {
        ENV_SHADOW_EVALUATION: v.service.name,
        ENV_SHADOW_EVALUATION_UID: v.uid,
        ENV_SHADOW_QUESTION: v.question,
        ENV_SHADOW_TASK_FILE: f"{SHADOW_TASK_DIR}/{SHADOW_TASK_KEY}",
    }
    if v.effective.data.s3 and v.effective.data.s3.credentials:
        found[ENV_SHADOW_S3_CREDENTIALS_DIR] = S3_SECRET_DIR
    return found


def _volumes(v: View) -> Volumes:
    """The task, the data where a volume holds it, and room for what is unpacked. All but the last are read-only."""
    data = v.effective.data
    found = config_volume("task", v.run_name, SHADOW_TASK_DIR) + scratch_volume("tmp", "/tmp", "256Mi")  # noqa: S108 - a mount point in the pod
    if data.config_map:
        found += config_volume("data", data.config_map.name, SHADOW_DATA_DIR)
    if data.persistent_volume_claim:
        mounted = claim_volume("data", data.persistent_volume_claim.claim_name, SHADOW_DATA_DIR)
        found += Volumes(mounted.volumes, tuple({**m, "readOnly": True} for m in mounted.mounts))
    if data.s3 and data.s3.credentials:
        keys = (SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY)
        found += secret_volume("s3", data.s3.credentials.name, S3_SECRET_DIR, keys)
    return found
