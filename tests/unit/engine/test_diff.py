import copy
from typing import Any

import pytest

from shieldx_operator.engine.diff import differences, digest


def deployment(**pod: object) -> dict[str, Any]:
    container = {"name": "api", "image": "a:1", "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"app": "d"}},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"spec": {"containers": [container], **pod}},
        },
    }


def live_deployment() -> dict[str, Any]:
    live = deployment()
    live["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": [], "labels": {"app": "d", "other": "x"}}
    live["spec"] |= {"replicas": 7, "progressDeadlineSeconds": 600}
    live["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
    container = live["spec"]["template"]["spec"]["containers"][0]
    container |= {"imagePullPolicy": "IfNotPresent", "resources": {"limits": {"cpu": "1", "memory": "1024Mi"}}}
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar-of-a-mesh", "image": "m"})
    live["status"] = {"replicas": 7}
    return live


def test_the_servers_defaults_and_others_fields_are_no_difference() -> None:
    assert differences(deployment(), live_deployment()) == []


def test_a_changed_value_is_named_by_its_path() -> None:
    live = live_deployment()
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2"
    assert differences(deployment(), live) == ["spec.template.spec.containers[api].image"]


def test_containers_are_matched_by_name_not_by_place() -> None:
    live = live_deployment()
    live["spec"]["template"]["spec"]["containers"].reverse()
    assert differences(deployment(), live) == []


def test_a_missing_container_is_a_difference() -> None:
    live = live_deployment()
    del live["spec"]["template"]["spec"]["containers"][0]
    assert differences(deployment(), live) == ["spec.template.spec.containers[api]"]


def test_a_selector_with_a_label_too_many_is_a_difference() -> None:
    live = live_deployment()
    live["spec"]["selector"]["matchLabels"]["more"] = "x"
    assert differences(deployment(), live) == ["spec.selector"]


def policy(ingress: list[Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress},
    }


PEER: dict[str, Any] = {
    "from": [{"podSelector": {"matchLabels": {"a": "b"}}}],
    "ports": [{"port": 8080, "protocol": "TCP"}],
}


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        pytest.param([PEER], [PEER, {}], id="a rule that lets everybody in was added"),
        pytest.param([PEER], [{**PEER, "ports": [*PEER["ports"], {"port": 22}]}], id="a port was added"),
        pytest.param([PEER], [{"ports": PEER["ports"], "from": [{"podSelector": {}}]}], id="the selector was emptied"),
        pytest.param([PEER], [], id="the rule was removed"),
        pytest.param([], [{}], id="a closed direction was opened"),
        pytest.param(
            [PEER],
            [{**PEER, "from": [{**PEER["from"][0], "namespaceSelector": {}}]}],
            id="the same label in any namespace was let in",
        ),
        pytest.param(
            [PEER],
            [{**PEER, "ports": [{**PEER["ports"][0], "endPort": 9090}]}],
            id="a port became a range",
        ),
        pytest.param(
            [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {}}]}],
            [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}],
            id="an empty selector went: it selects everything, an absent one nothing",
        ),
    ],
)
def test_a_network_policy_that_was_tampered_with_is_a_difference(desired: list[Any], live: list[Any]) -> None:
    assert differences(policy(desired), policy(live)) != []


def test_an_empty_list_is_satisfied_by_none() -> None:
    live = policy([])
    del live["spec"]["ingress"]
    assert differences(policy([]), live) == []


def service(ports: list[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}


def test_service_ports_are_matched_by_port_and_protocol_and_tcp_is_the_default() -> None:
    live = service(
        [{"port": 81, "protocol": "TCP"}, {"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30000}]
    )
    assert differences(service([{"port": 80, "targetPort": 80}]), live) == []
    assert differences(service([{"port": 80, "protocol": "UDP"}]), live) == ["spec.ports[80/UDP]"]


@pytest.mark.parametrize(
    ("desired", "live"),
    [("1000m", "1"), ("1Gi", "1024Mi"), ("0.5", "500m"), (2, "2"), ("1e3", "1k"), ("128974848", "123Mi")],
)
def test_quantities_are_compared_by_value(desired: str | int, live: str) -> None:
    def pod(value: str | int) -> dict[str, Any]:
        return {"kind": "Pod", "spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": value}}}]}}

    assert differences(pod(desired), pod(live)) == []
    assert differences(pod(desired), pod("7")) == ["spec.containers[c].resources.requests.memory"]


def test_what_only_looks_like_a_quantity_is_compared_as_text() -> None:
    assert differences(
        {"kind": "ConfigMap", "data": {"cpu": "1000m"}}, {"kind": "ConfigMap", "data": {"cpu": "1"}}
    ) == ["data.cpu"]


def test_a_label_that_looks_like_a_quantity_is_compared_as_text() -> None:
    one = {"kind": "ConfigMap", "metadata": {"labels": {"limits": "1000m"}}}
    other = {"kind": "ConfigMap", "metadata": {"labels": {"limits": "1"}}}
    assert differences(one, other) == ["metadata.labels.limits"]


@pytest.mark.parametrize(
    ("field", "value", "satisfied"),
    [
        ("hostNetwork", False, True),
        ("automountServiceAccountToken", False, False),
        ("terminationGracePeriodSeconds", 0, False),
    ],
)
def test_an_absent_field_satisfies_an_empty_value_only_where_the_api_leaves_it_out(
    field: str, value: bool | int, satisfied: bool
) -> None:
    assert (differences(deployment(**{field: value}), live_deployment()) == []) is satisfied


def test_true_is_not_one() -> None:
    assert differences({"kind": "X", "spec": {"a": True}}, {"kind": "X", "spec": {"a": 1}}) == ["spec.a"]


def test_a_number_and_its_text_are_different_ports() -> None:
    assert differences(service([{"port": 80, "targetPort": 80}]), service([{"port": 80, "targetPort": "80"}])) == [
        "spec.ports[80/TCP].targetPort"
    ]


def test_finalizers_of_others_are_no_difference() -> None:
    desired = {"kind": "X", "metadata": {"finalizers": ["a"]}}
    assert differences(desired, {"kind": "X", "metadata": {"finalizers": ["b", "a"]}}) == []
    assert differences(desired, {"kind": "X", "metadata": {"finalizers": ["b"]}}) == ["metadata.finalizers"]


def test_the_digest_tells_that_a_field_is_no_longer_wanted() -> None:
    before = deployment(hostNetwork=True)
    assert differences(deployment(), before) == []
    assert digest(before) != digest(deployment())


def test_the_digest_of_a_secret_tells_nothing_of_its_values() -> None:
    def secret(**data: str) -> dict[str, Any]:
        return {"kind": "Secret", "metadata": {"name": "s"}, "data": data}

    assert digest(secret(a="MQ==")) == digest(secret(a="Mg=="))
    assert digest(secret(a="MQ==")) != digest(secret(a="MQ==", b="MQ=="))


def test_comparing_changes_neither_side() -> None:
    desired, live = deployment(), live_deployment()
    copies = copy.deepcopy((desired, live))
    differences(desired, live)
    digest(desired)
    assert (desired, live) == copies
