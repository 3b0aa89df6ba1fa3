"""The custom resources of the platform, each once: names, types, rules, defaults, columns."""

from dataclasses import dataclass
from typing import Any, Final

from shieldx_contract import API_GROUP, LABEL_PART_OF, PART_OF
from shieldx_operator.api import backupdefaults, backuprules, defaults, rules
from shieldx_operator.api.backup import BackupSpec, BackupStatus
from shieldx_operator.api.backuppolicy import BackupPolicySpec, BackupPolicyStatus
from shieldx_operator.api.base import Model
from shieldx_operator.api.creditsservice import CreditsServiceSpec, CreditsServiceStatus
from shieldx_operator.api.restore import RestoreSpec, RestoreStatus
from shieldx_operator.api.rules import Rule
from shieldx_operator.api.schema import Schema, add_defaults, add_rules, structural
from shieldx_operator.api.shadowevaluation import ShadowEvaluationSpec, ShadowEvaluationStatus
from shieldx_operator.api.shadowevaluationdefaults import SHADOW_EVALUATION as SHADOW_EVALUATION_DEFAULTS
from shieldx_operator.api.shadowevaluationrules import SHADOW_EVALUATION_RULES
from shieldx_operator.api.shadowservice import ShadowServiceSpec, ShadowServiceStatus
from shieldx_operator.api.shadowservicedefaults import SHADOW_SERVICE_PROFILES
from shieldx_operator.api.shadowservicerules import SHADOW_SERVICE_RULES
from shieldx_operator.api.tenant import TenantSpec, TenantStatus

API_VERSION: Final = "v1alpha1"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; one that is not `always` shows with `-o wide`."""

    name: str
    path: str
    meaning: str
    type: str = "string"
    always: bool = True

    def to_json(self) -> dict[str, Any]:
        wide = {} if self.always else {"priority": 1}
        return {"name": self.name, "type": self.type, "description": self.meaning, "jsonPath": self.path, **wide}


@dataclass(frozen=True, slots=True)
class CustomResource:
    """One kind. `defaults` are those of its fields, by profile where it has profiles.

    `selectable` are fields that a list may select by, on servers that can.
    """

    kind: str
    plural: str
    short_names: tuple[str, ...]
    meaning: str
    spec: type[Model]
    status: type[Model]
    rules: tuple[Rule, ...]
    columns: tuple[Column, ...]
    defaults: dict[str, Schema]
    selectable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.plural}.{API_GROUP}"


def _condition(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


_READY: Final = Column("Ready", _condition("status"), "Whether it does what its spec asks for.")
_REASON: Final = Column("Reason", _condition("reason"), "Why it is ready or not.")
_MESSAGE: Final = Column("Message", _condition("message"), "What is wrong, where, and what to do.", always=False)
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since it was made.", "date")

CREDITS_SERVICE: Final = CustomResource(
    kind="CreditsService",
    plural="creditsservices",
    short_names=("credits",),
    meaning="One credits API with its database and its cache.",
    spec=CreditsServiceSpec,
    status=CreditsServiceStatus,
    rules=rules.CREDITS_SERVICE,
    columns=(
        _READY,
        _REASON,
        Column("Pods", ".status.ready", "Ready pods of the API out of those wanted."),
        Column("Version", ".status.version", "Version of the runtime that serves."),
        Column("Endpoint", ".status.endpoint", "URL of the API inside the cluster."),
        _AGE,
        _MESSAGE,
    ),
    defaults={name: {"profile": defaults.DEFAULT_PROFILE, **values} for name, values in defaults.PROFILES.items()},
)

TENANT: Final = CustomResource(
    kind="Tenant",
    plural="tenants",
    short_names=(),
    meaning="One tenant of a CreditsService, and the key it calls the API with.",
    spec=TenantSpec,
    status=TenantStatus,
    rules=rules.TENANT,
    columns=(
        _READY,
        _REASON,
        Column("Tenant", ".status.tenantID", "Id of the tenant in the ledger."),
        Column("Service", ".spec.serviceRef.name", "The CreditsService it belongs to."),
        Column("Key age", ".status.key.createdAt", "Time since the present key was made.", "date"),
        _AGE,
        _MESSAGE,
    ),
    defaults={"": defaults.TENANT},
)

SHADOW_SERVICE: Final = CustomResource(
    kind="ShadowService",
    plural="shadowservices",
    short_names=("shadow",),
    meaning="The HTTP API of shadow evaluation, beside a credits service whose tenants and keys it takes.",
    spec=ShadowServiceSpec,
    status=ShadowServiceStatus,
    rules=SHADOW_SERVICE_RULES,
    columns=(
        _READY,
        _REASON,
        Column("Pods", ".status.ready", "Ready pods of the API out of those wanted."),
        Column("Version", ".status.version", "Version of the runtime that serves."),
        Column("Endpoint", ".status.endpoint", "URL of the API inside the cluster."),
        _AGE,
        _MESSAGE,
    ),
    defaults={
        name: {"profile": defaults.DEFAULT_PROFILE, **values} for name, values in SHADOW_SERVICE_PROFILES.items()
    },
)

SHADOW_EVALUATION: Final = CustomResource(
    kind="ShadowEvaluation",
    plural="shadowevaluations",
    short_names=("sheval",),
    meaning="One question: how does this rule do on this data?",
    spec=ShadowEvaluationSpec,
    status=ShadowEvaluationStatus,
    rules=SHADOW_EVALUATION_RULES,
    columns=(
        Column("Rule", ".spec.rule.id", "Id of the rule in question."),
        Column("Verdict", ".status.result.verdict", "PROMOTE, REJECT or INCONCLUSIVE; empty while there is none."),
        Column("F1", ".status.f1", "F1 with its 95% interval."),
        Column("Samples", ".status.samples", "Samples judged so far.", "integer"),
        Column("Shards", ".status.shardsDone", "Shards that are judged out of all.", always=False),
        Column("Reason", _condition("reason"), "Why there is an answer or not.", always=False),
        _AGE,
        _MESSAGE,
    ),
    defaults={"": SHADOW_EVALUATION_DEFAULTS},
    selectable=(".status.question",),
)

BACKUP_POLICY: Final = CustomResource(
    kind="BackupPolicy",
    plural="backuppolicies",
    short_names=("bp",),
    meaning="What of a credits service is copied where, when, kept how long, and how it is proved.",
    spec=BackupPolicySpec,
    status=BackupPolicyStatus,
    rules=backuprules.BACKUP_POLICY_RULES,
    columns=(
        Column("Last success", ".status.lastSuccess", "Time since the newest copy of the database.", "date"),
        Column("Last verified", ".status.lastVerified", "Time since such a copy was last found whole.", "date"),
        Column("RPO", ".status.rpo", "Measured: what a restore would have lost."),
        Column("RTO", ".status.rto", "Measured: how long a restore took."),
        _READY,
        _REASON,
        Column("Next", ".status.nextSchedule", "When the next copy is due.", always=False),
        Column("Running", ".status.running", "What runs now.", always=False),
        _MESSAGE,
    ),
    defaults={"": backupdefaults.BACKUP_POLICY},
)

BACKUP: Final = CustomResource(
    kind="Backup",
    plural="backups",
    short_names=(),
    meaning="One copy of the database or of the cache of a credits service.",
    spec=BackupSpec,
    status=BackupStatus,
    rules=backuprules.BACKUP_RULES,
    columns=(
        Column("Stream", ".status.stream", "What is copied."),
        Column("Phase", ".status.phase", "Pending, Running, Succeeded or Failed."),
        Column("Taken", ".status.takenAt", "Time since the moment whose state it holds.", "date"),
        Column("Verified", ".status.verifiedAt", "Time since it was read back and found whole.", "date"),
        Column("Size", ".status.size", "Size as it is stored."),
        _REASON,
        Column("ID", ".status.backupID", "Id of the stored copy.", always=False),
        _AGE,
        _MESSAGE,
    ),
    defaults={"": backupdefaults.BACKUP},
)

RESTORE: Final = CustomResource(
    kind="Restore",
    plural="restores",
    short_names=(),
    meaning="One restore of the database of a credits service, in its place or into a new service.",
    spec=RestoreSpec,
    status=RestoreStatus,
    rules=backuprules.RESTORE_RULES,
    columns=(
        Column("Target", ".spec.target.name", "The credits service that is restored."),
        Column("Mode", ".spec.target.mode", "In its place, or into a new service."),
        Column("Phase", ".status.phase", "Pending, Stopping, Restoring, RollingBack, Succeeded or Failed."),
        Column("Restored to", ".status.replayedTo", "The moment whose state the service has now."),
        Column("Seconds", ".status.durationSeconds", "How long the restore with its proof took.", "number"),
        _REASON,
        _AGE,
        _MESSAGE,
    ),
    defaults={"": backupdefaults.RESTORE},
)

ALL: Final = (CREDITS_SERVICE, TENANT, SHADOW_SERVICE, SHADOW_EVALUATION, BACKUP_POLICY, BACKUP, RESTORE)


def schema(resource: CustomResource) -> Schema:
    """The schema of a whole object of this kind, rules and defaults' descriptions included."""
    spec, status = structural(resource.spec), structural(resource.status)
    trees = list(resource.defaults.values())
    add_defaults(spec, trees[0], trees[-1])
    whole: Schema = {
        "description": resource.meaning,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": spec,
            "status": status,
        },
    }
    add_rules(whole, resource.rules)
    return whole


def _selectable(resource: CustomResource) -> dict[str, Any]:
    paths = [{"jsonPath": path} for path in resource.selectable]
    return {"selectableFields": paths} if paths else {}


def definition(resource: CustomResource) -> dict[str, Any]:
    """The CustomResourceDefinition."""
    singular = resource.kind.lower()
    names = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": singular,
        **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
        "categories": ["shieldx"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name, "labels": {LABEL_PART_OF: PART_OF}},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": names,
            "versions": [
                {
                    "name": API_VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [c.to_json() for c in resource.columns],
                    **_selectable(resource),
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema(resource)},
                }
            ],
        },
    }
