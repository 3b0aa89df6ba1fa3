"""When the accounts are compared with the ledger, and what is told of it."""

import pytest

from shieldx_contract import CREDITS_DIFFER_EXIT_CODE
from shieldx_operator.blocks.resources import CRON_JOB
from shieldx_operator.engine.types import Failure, Ref, Results
from shieldx_operator.kinds.creditsservice import CreditsServiceKind
from tests.unit.kinds.creditsservice.world import MANAGED, running
from tests.unit.kinds.world import World


def compare_books(
    w: World, state: str, *, exit_code: int | None = None, said: str = "", at: str = "2026-01-02"
) -> None:
    """A run of the CronJob has ended so; without an exit code its pod is gone."""
    name = f"pay-reconcile-{at}"
    end = {"type": state, "status": "True", "lastTransitionTime": f"{at}T03:17:09Z"}
    w.lists.setdefault("comparisons", []).append({"metadata": {"name": name}, "status": {"conditions": [end]}})
    labels = {"app.kubernetes.io/component": "reconciliation", "batch.kubernetes.io/job-name": name}
    terminated = {"exitCode": exit_code, "message": said, "finishedAt": f"{at}T03:17:08Z"}
    status = {"containerStatuses": [{"name": "reconcile", "state": {"terminated": terminated}}]}
    w.lists["pods"] = [] if exit_code is None else [{"metadata": {"name": name, "labels": labels}, "status": status}]


def gauges(w: World) -> dict[str, float]:
    kind = w.kind
    assert isinstance(kind, CreditsServiceKind)
    return {m.gauge: m.value for m in kind.measures(w.parent, w.status())}


def test_the_books_are_compared_once_a_day_by_the_services_own_role() -> None:
    cron = running().one("CronJob", "pay-reconcile")["spec"]
    assert (cron["schedule"], cron["timeZone"], cron["suspend"]) == ("17 3 * * *", "UTC", False)
    assert cron["concurrencyPolicy"] == "Forbid"
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    api_pod = running().one("Deployment", "pay")["spec"]["template"]["spec"]
    assert pod["securityContext"] == api_pod["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    container = pod["containers"][0]
    assert container["securityContext"] == api_pod["containers"][0]["securityContext"]
    assert container["command"] == ["python", "-m", "shieldx_runtime", "credits", "reconcile"]
    mounted = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert mounted == {"pay-db-service"}, "neither keys nor the owner's password"
    labels = cron["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    out = running().one("NetworkPolicy", "pay-reconciliation")["spec"]
    assert out["podSelector"]["matchLabels"].items() <= labels.items()
    assert [rule["ports"][0]["port"] for rule in out["egress"]] == [53, 5432]
    let_in = running().one("NetworkPolicy", "pay-db")["spec"]["ingress"][0]["from"]
    assert any(peer["podSelector"]["matchLabels"].items() <= labels.items() for peer in let_in)


def test_the_schedule_is_the_users_and_comparing_can_be_suspended() -> None:
    w = running({**MANAGED, "reconciliation": {"schedule": "0 5 * * 1", "timeZone": "Europe/Berlin", "suspend": True}})
    cron = w.one("CronJob", "pay-reconcile")["spec"]
    assert (cron["schedule"], cron["timeZone"], cron["suspend"]) == ("0 5 * * 1", "Europe/Berlin", True)
    assert gauges(w) == {}


def test_books_that_differ_are_told_with_what_differs_and_the_service_goes_on_serving() -> None:
    w = running()
    assert (w.condition("BooksAgree").reason, gauges(w)) == (
        "NotComparedYet",
        {"shieldx_credits_last_reconciliation_timestamp_seconds": 0.0},
    )
    compare_books(w, "Complete", exit_code=0)
    assert w.condition("BooksAgree").status == "True"
    assert gauges(w)["shieldx_credits_books_agree"] == 1
    said = "tenant org-1: account: balance is 9901, recomputed 9900\n2 tenants compared, 1 differ"
    compare_books(w, "Failed", exit_code=CREDITS_DIFFER_EXIT_CODE, said=said, at="2026-01-03")
    told = w.condition("BooksAgree")
    assert (told.status, told.reason) == ("False", "BalanceDiscrepancy")
    assert "account: balance is 9901" in told.message
    assert "balance-discrepancy" in told.message
    assert (w.condition("Ready").status, gauges(w)["shieldx_credits_books_agree"]) == ("True", 0)
    assert w.parent["status"]["lastReconciliation"] == "2026-01-03T03:17:09Z"
    w.lists["pods"] = []
    assert w.condition("BooksAgree").message == told.message, "its pod is gone, what it found is not"
    w.lists["comparisons"] = []
    assert w.condition("BooksAgree").message == told.message


@pytest.mark.parametrize("exit_code", [1, 2, 3, 137])
def test_a_comparison_that_did_not_come_about_says_nothing_of_the_books(exit_code: int) -> None:
    """1 is how Python ends after a crash."""
    w = running()
    compare_books(w, "Failed", exit_code=exit_code, said="cannot reach database pay-db:5432")
    told = w.condition("BooksAgree")
    assert (told.status, told.reason) == ("Unknown", "ReconciliationFailed")
    assert "cannot reach database" in told.message
    assert "shieldx_credits_books_agree" not in gauges(w)


DIFFER = ("Failed", CREDITS_DIFFER_EXIT_CODE, "2 tenants compared, 1 differ")
UNREACHED = ("Failed", 3, "cannot reach database pay-db:5432")
NO_POD = ("Failed", None, "")
AGREED = ("Complete", 0, "")


@pytest.mark.parametrize(
    ("runs", "status", "last"),
    [
        pytest.param([AGREED, UNREACHED], "Unknown", 1, id="a failure is no comparison"),
        pytest.param([AGREED, NO_POD], "Unknown", 1, id="nor is one without an exit code"),
        pytest.param([UNREACHED], "Unknown", None, id="nor is the first of all"),
        pytest.param([DIFFER, UNREACHED], "False", 1, id="a failure takes back nothing"),
        pytest.param([DIFFER, UNREACHED, NO_POD], "False", 1, id="nor do two"),
        pytest.param([AGREED, DIFFER, NO_POD], "False", 2, id="an older agreement is older"),
        pytest.param([DIFFER, UNREACHED, AGREED], "True", 3, id="a comparison does"),
        pytest.param([AGREED, UNREACHED, DIFFER], "False", 3, id="and says the contrary"),
    ],
)
def test_only_a_run_that_compared_changes_what_is_known_of_the_books(
    runs: list[tuple[str, int | None, str]], status: str, last: int | None
) -> None:
    w = running()
    for day, (state, exit_code, said) in enumerate(runs, 1):
        compare_books(w, state, exit_code=exit_code, said=said, at=f"2026-01-0{day}")
        w.status()
    told = w.condition("BooksAgree")
    assert told.status == status
    at = None if last is None else f"2026-01-0{last}T03:17:09Z"
    assert w.parent["status"].get("lastReconciliation") == at
    assert (gauges(w)["shieldx_credits_last_reconciliation_timestamp_seconds"] > 0) is (at is not None)
    if status == "False":
        assert "2 tenants compared, 1 differ" in told.message
        assert told.message.count("could not be compared with the ledger at") == (last != len(runs))
    w.lists["pods"] = []
    assert w.condition("BooksAgree").message == told.message, "it is told on when the pods are gone"
    w.lists["comparisons"] = []
    assert w.condition("BooksAgree").message == told.message, "and when the Jobs are"


def refused(message: str) -> Results:
    """The API server takes everything but the CronJob."""
    ref = Ref(CRON_JOB, "team", "pay-reconcile")
    return Results(failures=[Failure(str(ref), "Invalid", message, retryable=False, ref=ref)])


WRONG = 'spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone'


def test_a_schedule_that_the_cluster_refuses_is_told_of_the_books_and_the_service_is_ready() -> None:
    w = running()
    told = w.condition("BooksAgree", refused(WRONG))
    assert (told.status, told.reason) == ("Unknown", "ScheduleRefused")
    assert WRONG in told.message
    assert "correct spec.reconciliation.schedule or timeZone" in told.message
    assert w.condition("Ready", refused(WRONG)).status == "True"
    assert w.status(refused(WRONG)).told_apart == refused(WRONG).failures, "or the engine takes Ready back"
    assert w.condition("BooksAgree").reason == "NotComparedYet", "mended"
    compare_books(w, *DIFFER[:1], exit_code=DIFFER[1], said=DIFFER[2])
    w.status()
    told = w.condition("BooksAgree", refused(WRONG))
    assert (told.status, WRONG in told.message) == ("False", True), "what differed differs still"


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("0 3 * * 7", "0 3 * * 0"),
        ("0 3 * * 7-7", "0 3 * * 0"),
        ("0 3 * * 5-7", "0 3 * * 5,6,0"),
        ("0 3 * * FRI-7", "0 3 * * 5,6,0"),
        ("0 3 * * 0-7", "0 3 * * 0,1,2,3,4,5,6"),
        ("0 3 * * 1-7/3", "0 3 * * 1,4,0"),
        ("0 3 * * 1,7/2", "0 3 * * 1,0"),
        ("7 7  7-7 7 1", "7 7 7-7 7 1"),
        ("0 3 * * */7", "0 3 * * */7"),
        ("0 3 * * 5-1", "0 3 * * 5-1"),
    ],
)
def test_a_week_may_end_with_a_sunday_though_a_cron_job_knows_no_day_7(written: str, asked: str) -> None:
    w = running({**MANAGED, "reconciliation": {"schedule": written}})
    assert w.one("CronJob", "pay-reconcile")["spec"]["schedule"] == asked
