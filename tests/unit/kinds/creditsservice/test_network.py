"""Who reaches whom."""

from shieldx_operator.blocks.resources import ref_of
from tests.unit.kinds.creditsservice.world import EXTERNAL, MANAGED, kinds, running, world
from tests.unit.kinds.world import secret


def test_an_external_database_is_reached_on_its_own_port_only() -> None:
    w = world(EXTERNAL)
    for s in (
        secret("team", "their-db", {"uri": "postgresql://u:p@h:6543/d"}),
        secret("team", "their-cache", {"url": "rediss://:p@h:6390/0"}),
    ):
        w.objects[ref_of(s)] = s
    w.step()
    egress = w.one("NetworkPolicy", "pay-api")["spec"]["egress"]
    assert {p["port"] for rule in egress for p in rule["ports"]} == {53, 6543, 6390}
    assert "StatefulSet" not in kinds(w)


def test_only_named_callers_reach_the_api_and_only_the_service_its_stores() -> None:
    spec = {**MANAGED, "network": {"allowFrom": [{"podSelector": {"matchLabels": {"role": "caller"}}}]}}
    w = running(spec)
    deny = w.one("NetworkPolicy", "pay-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert deny["ingress"] == deny["egress"] == [], "said, so that a rule somebody adds is a difference"
    api = w.one("NetworkPolicy", "pay-api")["spec"]["ingress"]
    assert len(api) == 1
    assert api[0]["from"][0] == {"podSelector": {"matchLabels": {"role": "caller"}}}
    assert api[0]["from"][1]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "shieldx-system"}
    database = w.one("NetworkPolicy", "pay-db")["spec"]
    assert database["egress"] == []
    components = [
        f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for f in database["ingress"][0]["from"]
    ]
    assert components == ["api", "migration", "reconciliation"]


def test_alerts_leave_for_public_addresses_only_where_the_spec_lets_them() -> None:
    closed = running().one("NetworkPolicy", "pay-api")["spec"]["egress"]
    opened = running({**MANAGED, "alerts": {"webhooks": "Public"}}).one("NetworkPolicy", "pay-api")["spec"]["egress"]
    (rule,) = [r for r in opened if r not in closed]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    assert {"cidr": "0.0.0.0/0"}.items() <= rule["to"][0]["ipBlock"].items()
    assert "10.0.0.0/8" in rule["to"][0]["ipBlock"]["except"]
    assert [r for r in opened if r != rule] == closed
