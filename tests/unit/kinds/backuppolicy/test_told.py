"""What a policy tells: what it lacks, what failed, and whether its objectives are met."""

import copy

import pytest

from shieldx_operator.blocks import stores
from shieldx_operator.blocks.resources import DEPLOYMENT, SECRET
from shieldx_operator.engine.types import Ref
from tests.unit.kinds.backuppolicy.world import HOUR, Keeping, no_audit


def test_a_policy_that_never_succeeded_is_not_ready_and_says_what_runs() -> None:
    w = Keeping()
    w.settle()
    ready = w.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "NeverSucceeded")
    assert "nightly-db-202601010000 runs" in ready.message
    assert w.condition("Verified").reason == "NeverVerified"


def test_a_copy_that_failed_is_told_in_the_words_of_the_run_until_one_succeeds() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(6 * HOUR)
    w.settle()
    w.finish("nightly-db-202601010600", failed="WrongKey")
    w.settle()
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "DatabaseBackupFailed")
    assert stalled.message.startswith("WrongKey: m; the next is due 2026-01-01T12:00:00Z"), "and how to have it sooner"
    assert w.told["lastVerified"] == "2026-01-01T00:00:00Z"
    w.pass_time(6 * HOUR)
    w.prove()
    assert w.condition("Ready").status == "True"


def test_without_the_audit_log_the_age_of_the_newest_verified_copy_counts() -> None:
    w = no_audit(objectives={"rpoSeconds": 3 * HOUR})
    w.prove()
    assert w.condition("ObjectivesMet").status == "Unknown"
    seconds = w.status().requeue_after_s
    assert seconds is not None
    assert seconds <= 3 * HOUR + 1
    w.pass_time(3 * HOUR + 1)
    met = w.condition("ObjectivesMet")
    assert met.status == "False"
    assert "2026-01-01T00:00:00Z" in met.message


def test_without_the_audit_log_the_rpo_is_what_could_have_been_lost_at_worst() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(6 * HOUR)
    w.settle()
    w.pass_time(120)
    w.finish("nightly-db-202601010600")
    w.settle()
    assert w.told["rpo"] == "6h02m"
    assert "rpoSeconds asks for 6h00m" in w.condition("ObjectivesMet").message


def test_a_restore_that_takes_too_long_misses_the_objective() -> None:
    w = Keeping(objectives={"rtoSeconds": 10})
    w.prove()
    met = w.condition("ObjectivesMet")
    assert (met.status, met.reason) == ("False", "Missed")
    assert "a restore took 12.5s" in met.message


def test_a_shipper_that_does_not_run_is_told_and_makes_the_policy_not_ready() -> None:
    w = Keeping()
    w.prove()
    w.objects[Ref(DEPLOYMENT, "team", "nightly-ship-audit")]["status"] = {}
    assert w.condition("AuditShipping").status == "False"
    assert w.condition("Ready").status == "False"


def test_the_shipper_is_one_pod_that_never_meets_its_successor() -> None:
    w = Keeping()
    w.settle()
    spec = w.one("Deployment", "nightly-ship-audit")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("gone", ["keys", "s3", "credits-db"])
def test_nothing_begins_without_a_secret_and_it_is_named(gone: str) -> None:
    w = Keeping()
    del w.objects[Ref(SECRET, "team", gone)]
    w.settle()
    assert w.names("backups") == []
    assert gone in w.condition("Stalled").message
    assert w.condition("Stalled").status == "True"


def test_a_policy_whose_service_was_deleted_names_it_and_begins_nothing_until_it_is_back() -> None:
    """What is kept of the service, its Secrets among it, must not be taken for a service."""
    w = Keeping()
    w.prove()
    service = w.objects.pop(Ref(stores.CREDITS_RESOURCE, "team", "credits"))
    made = w.names("backups")
    w.pass_time(7 * HOUR)
    w.settle()
    assert w.names("backups") == made
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 0
    assert (w.condition("Stalled").status, w.condition("Ready").reason) == ("True", "ServiceNotFound")
    assert "CreditsService team/credits" in w.condition("Ready").message
    w.objects[Ref(stores.CREDITS_RESOURCE, "team", "credits")] = service
    w.settle()
    assert len(w.names("backups")) == len(made) + 1


def test_a_settled_policy_says_and_makes_the_same_at_each_look() -> None:
    w = Keeping()
    w.prove()
    before = copy.deepcopy((w.told, w.names("backups"), w.names("jobs")))
    w.pass_time(600)
    w.step()
    assert (w.told, w.names("backups"), w.names("jobs")) == before
