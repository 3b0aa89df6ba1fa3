"""As much of a life of the backup kinds as shows what the operator must be allowed to do for them: no copy is made."""

from dataclasses import dataclass

from shieldx_contract import LABEL_INSTANCE
from shieldx_operator.blocks.resources import POD, SECRET
from shieldx_operator.engine.types import Obj, Ref, Resource
from shieldx_operator.kinds.backup.view import RESOURCE as BACKUPS
from shieldx_operator.kinds.backuppolicy.view import RESOURCE as POLICIES
from shieldx_operator.kinds.creditsservice import RESOURCE as SERVICES
from shieldx_operator.kinds.restore.view import RESOURCE as RESTORES
from tests.e2e.operator.life import condition
from tests.e2e.operator.site import Site
from tests.e2e.waiting import until

SERVICE, POLICY, RESTORE, ON_DEMAND = "elsewhere", "minutely", "undo", "on-demand"
TOLD_WITHIN_S = 30
DUE_WITHIN_S = 60
"""Seconds from one due time to the next, at most: cron knows no shorter ones."""
NOWHERE: Obj = {"nodeSelector": {"nowhere": "yes"}}
NO_KEY = "this is no key: it has other than thirty-two bytes"


@dataclass
class Copies:
    """A policy whose key is of no use, for a service whose stores are nowhere, and a restore that never begins."""

    site: Site
    namespace: str

    def _ref(self, resource: Resource, name: str) -> Ref:
        return Ref(resource, self.namespace, name)

    def begin(self) -> None:
        """The first run is due at once, the second with the next minute: this waits for neither."""
        self.site.namespace(self.namespace)
        uris = {"database": "postgresql://a:b@nobody.invalid/a", "cache": "redis://nobody.invalid:6379/0"}
        self.site.apply(self._ref(SECRET, "stores"), stringData=uris)
        self.site.apply(self._ref(SECRET, "keys"), stringData={"k1": NO_KEY})
        external = {store: {"external": {"secretRef": {"name": "stores", "key": store}}} for store in uris}
        spec = {"profile": "Development", "scheduling": NOWHERE, **external}
        self.site.apply(self._ref(SERVICES, SERVICE), spec=spec)
        self.site.apply(
            self._ref(POLICIES, POLICY),
            spec={
                "serviceRef": {"name": SERVICE},
                "destination": {"s3": {"endpoint": "https://nobody.invalid", "bucket": "copies"}},
                "encryption": {"secretRef": {"name": "keys"}},
                "database": {"schedule": "* * * * *"},
                "cache": {"enabled": False},
                "audit": {"enabled": False},
                "drill": {"enabled": False},
                "history": {"failed": 1},
            },
        )

    def hold_a_restore(self) -> None:
        """It never begins: the service is held until nobody writes any more, and a copy's pod that fits nowhere may."""
        backup, restore = self._ref(BACKUPS, ON_DEMAND), self._ref(RESTORES, RESTORE)
        self.site.apply(backup, spec={"policyRef": {"name": POLICY}, "scheduling": NOWHERE})
        selector = f"{LABEL_INSTANCE}={ON_DEMAND}"
        until("the copy has a pod", lambda: self.site.list(POD, self.namespace, selector), TOLD_WITHIN_S)
        source, target = {"policyRef": {"name": POLICY}}, {"name": SERVICE, "mode": "InPlace"}
        self.site.apply(restore, spec={"source": source, "target": target, "confirm": SERVICE})
        until(f"{restore} waits for the copy", lambda: self._reason(restore) == "StoppingWriters", TOLD_WITHIN_S)
        assert self.site.there(restore)["metadata"]["finalizers"]
        for ref in (restore, backup):
            self.site.delete(ref)
            self.site.until_gone(ref, TOLD_WITHIN_S)

    def end(self) -> None:
        """Two runs have failed, and the history has room for one of them."""
        until("the first failed run gave way to another", self._first_gave_way, DUE_WITHIN_S + TOLD_WITHIN_S)
        policy = self._ref(POLICIES, POLICY)
        assert self._reason(policy) == "DatabaseBackupFailed"
        for ref in (policy, self._ref(SERVICES, SERVICE)):
            self.site.delete(ref)
            self.site.until_gone(ref, TOLD_WITHIN_S)

    def _first_gave_way(self) -> bool:
        """Whether the run that was due when the policy was made is gone and a later one has failed."""
        created = self.site.there(self._ref(POLICIES, POLICY))["metadata"]["creationTimestamp"]
        copies = self.site.list(BACKUPS, self.namespace)
        due = [c["spec"]["scheduledAt"] for c in copies if (c.get("status") or {}).get("phase") == "Failed"]
        return bool(due) and created not in [c["spec"]["scheduledAt"] for c in copies]

    def _reason(self, ref: Ref) -> str:
        return str(condition(self.site.there(ref)).get("reason"))
