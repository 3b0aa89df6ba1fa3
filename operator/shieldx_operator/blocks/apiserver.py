"""The way to the API server through a NetworkPolicy: the addresses behind the service `kubernetes`.

A policy is judged behind the service's own address, on what an EndpointSlice holds. Where the operator may not read
it, the ports that API servers listen on are opened to any address, which is less tight and works.
"""

from collections.abc import Sequence
from typing import Final

from shieldx_operator.blocks.network import Rule
from shieldx_operator.blocks.resources import ENDPOINT_SLICE
from shieldx_operator.engine.types import Obj, Query

QUERY: Final = Query(
    ENDPOINT_SLICE, "default", label_selector="kubernetes.io/service-name=kubernetes", limit=20, optional=True
)
_USUAL_PORTS: Final = (443, 6443)
_PREFIX: Final = {"IPv4": 32, "IPv6": 128}


def egress_rules(slices: Sequence[Obj]) -> list[Rule]:
    """Egress to the API server's addresses as `QUERY` found them; sorted, so that nothing differs by chance."""
    rules = [rule for found in sorted(slices, key=lambda s: str(s["metadata"]["name"])) if (rule := _rule(found))]
    return rules or [{"ports": [_port(port) for port in _USUAL_PORTS]}]


def _rule(found: Obj) -> Rule | None:
    prefix = _PREFIX.get(found.get("addressType", ""))
    addresses = sorted({a for e in found.get("endpoints") or () for a in e.get("addresses") or ()})
    ports = sorted({p["port"] for p in found.get("ports") or () if p.get("port")})
    if prefix is None or not addresses or not ports:
        return None
    blocks = [{"ipBlock": {"cidr": f"{address}/{prefix}"}} for address in addresses]
    return {"to": blocks, "ports": [_port(port) for port in ports]}


def _port(port: int) -> Obj:
    return {"protocol": "TCP", "port": port}
