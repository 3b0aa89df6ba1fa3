"""When a copy is due, and what begins then."""

from datetime import datetime, timedelta

import pytest

from shieldx_operator.blocks import hold
from shieldx_operator.engine.types import Stall
from shieldx_operator.kinds.backuppolicy.schedule import latest_due, next_due
from tests.unit.kinds.backuppolicy.world import HOUR, Keeping, no_audit
from tests.unit.kinds.world import START


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("cron", "zone", "now", "due"),
    [
        ("0 */6 * * *", "Etc/UTC", "2026-01-01T05:59:59+00:00", None),
        ("0 */6 * * *", "Etc/UTC", "2026-01-01T06:00:00+00:00", "2026-01-01T06:00:00+00:00"),
        ("0 */6 * * *", "Etc/UTC", "2026-01-03T05:00:00+00:00", "2026-01-03T00:00:00+00:00"),
        ("30 3 * * *", "Europe/Berlin", "2026-01-01T02:30:00+00:00", "2026-01-01T02:30:00+00:00"),
        # the hour that a change of the clock leaves out: run once, at its end
        ("30 2 29 3 *", "Europe/Berlin", "2026-03-29T01:00:00+00:00", "2026-03-29T01:00:00+00:00"),
    ],
)
def test_of_all_due_times_that_were_missed_the_latest_alone_is_due(cron: str, zone: str, now: str, due: str) -> None:
    assert latest_due(cron, zone, at(now), START) == (at(due) if due else None)


def test_the_next_due_time_is_in_the_zone_of_the_policy() -> None:
    assert next_due("30 3 * * *", "America/New_York", START) == at("2026-01-01T08:30:00+00:00")


@pytest.mark.parametrize(
    ("cron", "zone", "reason"),
    [
        ("0 0 30 2 *", "Etc/UTC", "InvalidSchedule"),
        ("5-1 * * * *", "Etc/UTC", "InvalidSchedule"),
        ("0 0 * * *", "Europe/Nowhere", "InvalidTimeZone"),
    ],
)
def test_a_schedule_that_never_comes_or_a_zone_that_is_none_stalls_with_the_remedy(
    cron: str, zone: str, reason: str
) -> None:
    with pytest.raises(Stall) as stalled:
        next_due(cron, zone, START)
    assert stalled.value.reason == reason
    assert repr(zone if reason == "InvalidTimeZone" else cron) in stalled.value.message


def test_a_new_policy_copies_at_once_and_then_by_its_schedule() -> None:
    w = no_audit()
    w.settle()
    assert w.names("backups") == ["nightly-db-202601010000"]
    w.finish("nightly-db-202601010000")
    w.pass_time(6 * HOUR - 1)
    w.prove()
    assert w.names("backups") == ["nightly-db-202601010000"]
    w.pass_time(1)
    w.settle()
    assert w.names("backups")[-1] == "nightly-db-202601010600"


def test_a_backup_that_is_due_says_which_policy_stream_and_time() -> None:
    w = no_audit()
    w.settle()
    assert w.lists["backups"][0]["spec"] == {
        "policyRef": {"name": "nightly"},
        "stream": "database",
        "scheduledAt": "2026-01-01T00:00:00Z",
    }


def test_schedules_that_were_missed_run_once_late() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(50 * HOUR)
    w.prove()
    assert w.names("backups") == ["nightly-db-202601010000", "nightly-db-202601030000"]


def test_two_operators_that_look_at_the_same_moment_make_one_object() -> None:
    w = no_audit()
    w.step()
    w.step()
    one, other = w.plan(), w.plan()
    names = [{o["metadata"]["name"] for o in p.apply if isinstance(o, dict)} for p in (one, other)]
    assert names[0] == names[1]


def test_an_operator_that_died_before_it_told_what_it_made_makes_nothing_twice() -> None:
    w = no_audit()
    w.settle()
    w.parent["status"].pop("database")
    w.finish("nightly-db-202601010000")
    w.pass_time(HOUR)
    w.prove()
    assert w.names("backups") == ["nightly-db-202601010000"]


def test_a_backup_object_that_somebody_deleted_is_not_made_again() -> None:
    w = no_audit()
    w.prove()
    w.lists["backups"].clear()
    w.pass_time(HOUR)
    w.settle()
    assert w.names("backups") == []
    assert w.told["lastVerified"] == "2026-01-01T00:00:00Z"
    assert w.condition("Ready").status == "True"


def test_never_two_at_once_whatever_is_due_and_whoever_began() -> None:
    w = Keeping(cache={"enabled": True, "schedule": "0 * * * *"})
    w.settle()
    w.pass_time(7 * HOUR)
    w.settle()
    assert len(w.names("backups")) == 1
    w.finish(w.names("backups")[0])
    w.settle()
    assert len([b for b in w.lists["backups"] if "status" not in b]) + len(w.names("jobs")) == 1


def test_nothing_begins_beside_a_copy_on_demand_of_the_same_policy() -> None:
    w = no_audit()
    w.prove()
    w.lists["backups"].append(
        {"kind": "Backup", "metadata": {"name": "mine"}, "spec": {"policyRef": {"name": "nightly"}}}
    )
    w.pass_time(7 * HOUR)
    w.settle()
    assert w.told["running"] == "mine"
    w.finish("mine")
    w.settle()
    assert w.told["database"]["backup"] == "mine"
    assert "nightly-db-202601010600" in w.names("backups")


def test_a_suspended_policy_begins_nothing_and_makes_good_once_afterwards() -> None:
    w = Keeping()
    w.prove()
    w.parent["spec"]["suspend"] = True
    w.pass_time(30 * HOUR)
    w.settle()
    assert len(w.names("backups")) == 1
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 0
    assert w.condition("Ready").status == "Unknown"
    w.parent["spec"]["suspend"] = False
    w.prove()
    assert len(w.names("backups")) == 2
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 1


def test_a_restore_that_holds_the_service_stops_the_shipper_and_all_that_is_due() -> None:
    w = Keeping()
    w.prove()
    w.objects[hold.ref("team", "credits")] = {"metadata": {"name": "h"}, "data": {"restore": "undo"}}
    w.pass_time(7 * HOUR)
    w.settle()
    assert w.one("Deployment", "nightly-ship-audit")["spec"]["replicas"] == 0
    assert len(w.names("backups")) == 1
    assert w.condition("Ready").reason == "RestoreRuns"


def test_a_clock_that_jumped_ahead_and_came_back_does_not_stop_the_schedule() -> None:
    w = no_audit()
    w.prove()
    w.pass_time(365 * 24 * HOUR)
    w.prove()
    w.now = START + timedelta(hours=1)
    w.settle()
    w.now = START + timedelta(hours=6, minutes=1)
    w.settle()
    assert "nightly-db-202601010600" in w.names("backups")
