"""Who may talk to whom: everything is denied, then named."""

from collections.abc import Sequence

from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import NETWORK_POLICY
from shieldx_operator.engine.types import Obj

Rule = Obj

DNS: Rule = {
    "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}

_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE_V6 = ("fc00::/7", "fe80::/10")
PUBLIC_HTTPS: Rule = {
    "to": [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE)}},
        {"ipBlock": {"cidr": "::/0", "except": list(_PRIVATE_V6)}},
    ],
    "ports": [{"protocol": "TCP", "port": 443}],
}


def peers_in_namespace(selector: dict[str, str]) -> list[Obj]:
    return [{"podSelector": {"matchLabels": selector}}]


def peers_elsewhere(namespace: str, selector: dict[str, str]) -> list[Obj]:
    return [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": {"matchLabels": selector},
        }
    ]


def ingress(peers: Sequence[Obj], port: int) -> Rule:
    return {"from": list(peers), "ports": [{"protocol": "TCP", "port": port}]}


def egress(peers: Sequence[Obj], port: int) -> Rule:
    """To `peers` on one TCP port; no peers means any address (a database outside the cluster)."""
    rule: Rule = {"ports": [{"protocol": "TCP", "port": port}]}
    return {"to": list(peers), **rule} if peers else rule


def policy(
    metadata: Obj,
    selector: dict[str, str],
    *,
    ingress: Sequence[Rule] = (),
    egress: Sequence[Rule] = (),
) -> Obj:
    """Selects pods and closes both directions but for the rules given; none at all is a default deny.

    An empty list is written, too: what is left unsaid belongs to whoever says it, and a rule that somebody adds to a
    closed direction would open it for good.
    """
    spec: Obj = {
        "podSelector": {"matchLabels": selector},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": list(ingress),
        "egress": list(egress),
    }
    return obj(NETWORK_POLICY, metadata, spec=spec)
