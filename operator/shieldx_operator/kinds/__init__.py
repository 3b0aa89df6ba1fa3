"""One package a custom resource: what it means. This registry is the only place that lists them."""

from shieldx_operator.engine.types import Kind
from shieldx_operator.kinds.backup import BackupKind
from shieldx_operator.kinds.backuppolicy import BackupPolicyKind
from shieldx_operator.kinds.creditsservice import CreditsServiceKind
from shieldx_operator.kinds.restore import RestoreKind
from shieldx_operator.kinds.shadowevaluation import ShadowEvaluationKind
from shieldx_operator.kinds.shadowservice import ShadowServiceKind
from shieldx_operator.kinds.tenant import TenantKind
from shieldx_operator.settings import OperatorSettings


def kinds(settings: OperatorSettings) -> tuple[Kind, ...]:
    """Every kind that this operator keeps."""
    return (
        CreditsServiceKind(settings),
        TenantKind(),
        ShadowServiceKind(settings),
        ShadowEvaluationKind(settings),
        BackupPolicyKind(settings),
        BackupKind(settings),
        RestoreKind(settings),
    )
