import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

Pod = Callable[..., dict[str, Any]]
SETTLE_S = 15
SERVE = "while true; do echo hello | nc -l -p 8080 >/dev/null; done"


def policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


DENY_ALL = policy("deny-all", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
TO_SERVER = policy(
    "client-to-server",
    {
        "podSelector": {"matchLabels": {"role": "client"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": [{"port": "http"}]}],
    },
)
FROM_CLIENT = policy(
    "server-from-client",
    {
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": [{"port": 8080}]}],
    },
)
DNS = policy(
    "dns",
    {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                    }
                ],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
            }
        ],
    },
)


@pytest.fixture(scope="module")
def server(cluster: Any, pod: Pod) -> str:
    """Starts a server and two clients; gives the server's service name."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    cluster.apply(
        service,
        pod("server", {"app": "server"}, SERVE, ports=[{"name": "http", "containerPort": 8080}]),
        pod("client", {"role": "client"}, "sleep 3600"),
        pod("stranger", {"role": "stranger"}, "sleep 3600"),
    )
    cluster.wait("--for=condition=Ready", "pod/server", "pod/client", "pod/stranger")
    return "server"


def reaches(cluster: Any, pod_name: str, host: str, port: int = 80) -> bool:
    return bool(cluster.shell(pod_name, f"echo | timeout 2 nc {host} {port}").text.strip() == "hello")


def reaches_api_server(cluster: Any, pod_name: str) -> bool:
    return bool(cluster.shell(pod_name, "timeout 2 nc $KUBERNETES_SERVICE_HOST 443 </dev/null").code == 0)


def resolves(cluster: Any, pod_name: str, name: str) -> bool:
    full = f"{name}.{cluster.namespace}.svc.cluster.local"
    return bool(cluster.shell(pod_name, f"timeout 4 nslookup {full}").code == 0)


def test_policies_open_and_close_exactly_what_they_name(cluster: Any, server: str) -> None:
    address = cluster.kubectl("get", "pod", "server", "--output=jsonpath={.status.podIP}").text
    assert reaches(cluster, "client", server), "without a policy, a service is reached by its name"
    assert reaches(cluster, "stranger", address, 8080)
    assert reaches_api_server(cluster, "client")

    cluster.apply(DENY_ALL)
    cluster.until("a default deny closes pods", lambda: not reaches(cluster, "client", address, 8080), SETTLE_S)
    assert not reaches(cluster, "stranger", address, 8080)
    assert not resolves(cluster, "client", server), "DNS is closed too"

    cluster.apply(DNS)
    cluster.until("the exception for DNS", lambda: resolves(cluster, "client", server), SETTLE_S)
    assert not reaches(cluster, "client", server)
    assert not reaches_api_server(cluster, "client"), "from a pod to the node is egress too"

    cluster.apply(FROM_CLIENT)
    assert not reaches(cluster, "client", server), "the sender's side is still closed"
    cluster.apply(TO_SERVER)
    cluster.until("both sides open", lambda: reaches(cluster, "client", server), SETTLE_S)
    assert not reaches(cluster, "stranger", server), "a pod without the label stays out"
    cluster.kubectl("delete", "networkpolicies", "--all")


def test_a_connection_that_is_no_longer_allowed_is_cut(cluster: Any, server: str, pod: Pod) -> None:
    cluster.apply(pod("echo", {"app": "echo"}, "nc -l -p 8081 -e cat"))
    cluster.wait("--for=condition=Ready", "pod/echo", f"pod/{server}")
    address = cluster.kubectl("get", "pod", "echo", "--output=jsonpath={.status.podIP}").text
    talk = f"for i in $(seq 32); do echo $i; sleep 0.25; done | timeout 9 nc {address} 8081"
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(cluster.shell, "client", talk)
        time.sleep(2)
        cluster.apply(
            policy("deny-echo", {"podSelector": {"matchLabels": {"app": "echo"}}, "policyTypes": ["Ingress"]})
        )
        heard = [int(line) for line in answers.result(timeout=30).text.splitlines() if line.isdigit()]
    assert heard, "the connection was open"
    assert heard[-1] < 25, f"words went through seconds after the policy: {heard}"
