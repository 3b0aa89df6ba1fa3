"""What the operator and the runtime must agree on, declared once.

The operator writes these names into the objects that it makes; the runtime reads them in its pods. Neither imports
the other: a name that both need stands here, and nothing else does.
"""

from typing import Final

API_GROUP: Final = "platform.shieldx.io"

# --- ports of the runtime's pods
HTTP_PORT: Final = 8080
HTTP_PORT_NAME: Final = "http"
HEALTH_PORT: Final = 9090
"""Health and metrics: never reachable for tenants."""
HEALTH_PORT_NAME: Final = "health"

# --- paths on the health port
LIVENESS_PATH: Final = "/healthz"
READINESS_PATH: Final = "/readyz"
METRICS_PATH: Final = "/metrics"

# --- environment of the runtime; every *_FILE names a file, so that no secret stands in an environment
ENV_DATABASE_URI_FILE: Final = "SHIELDX_DATABASE_URI_FILE"
"""Who connects by it owns the schema where `migrate` runs, and need own nothing where the API is served."""
ENV_DATABASE_SERVICE_URI_FILE: Final = "SHIELDX_DATABASE_SERVICE_URI_FILE"
"""For `migrate`: the URI that the API connects with, whose role it makes and gives its rights. Unset: the same role."""
ENV_CACHE_URI_FILE: Final = "SHIELDX_CACHE_URI_FILE"
ENV_ADMIN_KEY_FILE: Final = "SHIELDX_ADMIN_KEY_FILE"
ENV_KEY_PEPPER_FILE: Final = "SHIELDX_KEY_PEPPER_FILE"
"""The secret of the keyed hash under which API keys are stored."""
ENV_AUDIT_SIGNING_KEY_FILE: Final = "SHIELDX_AUDIT_SIGNING_KEY_FILE"
"""An Ed25519 private key (PEM, or 32 bytes in base64). Without it nothing of the audit log is sealed."""
ENV_MASTER_KEYS_FILE: Final = "SHIELDX_MASTER_KEYS_FILE"
"""Lines `<key id> <32 bytes in base64>`, the active one first. Without it texts are stored unencrypted."""
ENV_SEAL_INTERVAL_S: Final = "SHIELDX_SEAL_INTERVAL_S"
ENV_HTTP_HOST: Final = "SHIELDX_HTTP_HOST"
ENV_HTTP_PORT: Final = "SHIELDX_HTTP_PORT"
ENV_HEALTH_PORT: Final = "SHIELDX_HEALTH_PORT"
ENV_LOG_LEVEL: Final = "SHIELDX_LOG_LEVEL"
ENV_POOL_MAX_SIZE: Final = "SHIELDX_POOL_MAX_SIZE"
ENV_REQUEST_TIMEOUT_S: Final = "SHIELDX_REQUEST_TIMEOUT_S"
ENV_CACHE_TTL_S: Final = "SHIELDX_CACHE_TTL_S"
ENV_WEBHOOK_ALLOWED_HOSTS: Final = "SHIELDX_WEBHOOK_ALLOWED_HOSTS"
"""Host names, separated by commas, that low-balance alerts may reach by http and at private addresses."""
ENV_RATE_LIMIT: Final = "SHIELDX_RATE_LIMIT"
"""Requests that a key may make in 10 s, in each replica, where the key has no limit of its own."""
DEFAULT_RATE_LIMIT: Final = 500_000
"""More than one replica answers in 10 s, so that nobody meets it who has not asked for less."""
MAX_RATE_LIMIT: Final = 10_000_000
ENV_DRAIN_DELAY_S: Final = "SHIELDX_DRAIN_DELAY_S"
"""How long a terminating pod goes on accepting connections, until every proxy has dropped it from its endpoints."""

# --- files in the runtime's pods
SECRETS_DIR: Final = "/etc/shieldx/secrets"
DATABASE_SECRET_DIR: Final = f"{SECRETS_DIR}/database"
DATABASE_OWNER_SECRET_DIR: Final = f"{SECRETS_DIR}/database-owner"
CACHE_SECRET_DIR: Final = f"{SECRETS_DIR}/cache"
AUTH_SECRET_DIR: Final = f"{SECRETS_DIR}/auth"
AUDIT_SECRET_DIR: Final = f"{SECRETS_DIR}/audit"
S3_SECRET_DIR: Final = f"{SECRETS_DIR}/s3"
BILLING_SECRET_DIR: Final = f"{SECRETS_DIR}/billing"

# --- keys in Secrets
SECRET_URI_KEY: Final = "uri"  # noqa: S105 - the name of a key in a Secret, as the next ones
SECRET_ADMIN_KEY: Final = "admin-key"  # noqa: S105
SECRET_PEPPER_KEY: Final = "pepper"  # noqa: S105
SECRET_AUDIT_SIGNING_KEY: Final = "signing-key"  # noqa: S105
SECRET_MASTER_KEYS: Final = "master-keys"  # noqa: S105
SECRET_S3_ACCESS_KEY_ID: Final = "access-key-id"  # noqa: S105
SECRET_S3_SECRET_ACCESS_KEY: Final = "secret-access-key"  # noqa: S105
SECRET_BILLING_KEY: Final = "key"  # noqa: S105

# --- command lines of the one image
CREDITS_SERVE: Final = ("python", "-m", "shieldx_runtime", "credits", "serve")
CREDITS_MIGRATE: Final = ("python", "-m", "shieldx_runtime", "credits", "migrate")
CREDITS_RECONCILE: Final = ("python", "-m", "shieldx_runtime", "credits", "reconcile")
CREDITS_DIFFER_EXIT_CODE: Final = 20
"""The reconciliation ends with it where something does not agree; with any other but 0, nothing is known.

No interpreter, shell or signal ends a process with it, and no other command of ours.
"""
OPERATOR_RUN: Final = ("python", "-m", "shieldx_operator", "run")
SHADOW_WORK: Final = ("python", "-m", "shieldx_runtime", "shadow", "work")
SHADOW_MIGRATE: Final = ("python", "-m", "shieldx_runtime", "shadow", "migrate")
SHADOW_SERVE: Final = ("python", "-m", "shieldx_runtime", "shadow", "serve")
RUNTIME_UID: Final = 10001

# --- a shadow evaluation's Job and its workers
SHADOW_EVALUATIONS: Final = "shadowevaluations"
SHADOW_FIELD_MANAGER: Final = "shieldx-shadow-worker"
"""With the index of a shard behind it: each shard's entry in the status has a manager of its own."""
SHADOW_WORKER_SUFFIX: Final = "-shadow-worker"
"""Accounts of workers end with it: `<evaluation>-<question><suffix>`. The admission policy knows them by it."""
SHADOW_QUESTION_HEX_DIGITS: Final = 10
"""Length of the digest of what is asked: rule, data, sample and engine."""
SHADOW_GIVE_UP_EXIT_CODE: Final = 42
"""A worker ends with it where trying again cannot help: the task or the data is wrong."""
SHADOW_TASK_DIR: Final = "/etc/shieldx/shadow/task"
SHADOW_TASK_KEY: Final = "task.json"
SHADOW_DATA_DIR: Final = "/var/lib/shieldx/shadow/data"
ENV_SHADOW_EVALUATION: Final = "SHIELDX_SHADOW_EVALUATION"
ENV_SHADOW_EVALUATION_UID: Final = "SHIELDX_SHADOW_EVALUATION_UID"
ENV_SHADOW_QUESTION: Final = "SHIELDX_SHADOW_QUESTION"
ENV_SHADOW_TASK_FILE: Final = "SHIELDX_SHADOW_TASK_FILE"
ENV_SHADOW_S3_CREDENTIALS_DIR: Final = "SHIELDX_SHADOW_S3_CREDENTIALS_DIR"

# --- what evaluations of the shadow API cost their tenants
ENV_SHADOW_BILLING_URL: Final = "SHIELDX_SHADOW_BILLING_URL"
"""The credits API that holds and takes the credits. Unset: evaluations cost nothing."""
ENV_SHADOW_BILLING_KEY_FILE: Final = "SHIELDX_SHADOW_BILLING_KEY_FILE"
ENV_SHADOW_BILLING_PRICE: Final = "SHIELDX_SHADOW_BILLING_CREDITS_PER_1000_SAMPLES"
ENV_SHADOW_BILLING_HOLD_S: Final = "SHIELDX_SHADOW_BILLING_HOLD_S"
SHADOW_BILLING_MAX_PRICE: Final = 1_000_000
SHADOW_BILLING_HOLD_S: Final = 3600
SHADOW_BILLING_MIN_HOLD_S: Final = 600
"""Longer than one evaluation may take, with time to wait before and to settle after it."""
SHADOW_BILLING_MAX_HOLD_S: Final = 86_400
"""No longer than the ledger knows an idempotency key: a lost answer is found again for as long as there is a hold."""

# --- paths of the credits API that the operator calls
CREDITS_TENANT_PATH: Final = "/credits/tenants/{tenant_id}"
CREDITS_KEY_PATH: Final = "/credits/keys/{key_id}"

# --- labels
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART_OF: Final = "shieldx-platform"
MANAGED_BY: Final = "shieldx-operator"
OPERATOR_APP_NAME: Final = "shieldx-operator"
LABEL_OWNER_KIND: Final = "platform.shieldx.io/owner-kind"
"""With `LABEL_OWNER_NAME`: which custom resource of the same namespace an object was made for."""
LABEL_OWNER_NAME: Final = "platform.shieldx.io/owner-name"

API_KEY_PATTERN: Final = r"sxk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}"
"""`sxk_<key_id>_<secret>`: the id finds the key, the secret (32 random bytes, base64url) proves it."""
TENANT_ID_PATTERN: Final = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"
