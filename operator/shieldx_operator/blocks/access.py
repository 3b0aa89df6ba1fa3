"""Who may do what: an account of its own for a group of pods, and the one Role that it has."""

from collections.abc import Sequence

from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from shieldx_operator.engine.types import Obj


def rule(group: str, resource: str, verbs: Sequence[str], *, names: Sequence[str] = ()) -> Obj:
    """One rule of a Role; `names` narrow it to the objects of these names."""
    narrowed = {"resourceNames": list(names)} if names else {}
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **narrowed}


def account(metadata: Obj, rules: Sequence[Obj]) -> list[Obj]:
    """A ServiceAccount, a Role with `rules` and the binding of the two, all of one name.

    The token is mounted by the pods that ask for it, never by chance.
    """
    name = metadata["name"]
    return [
        obj(SERVICE_ACCOUNT, metadata, automountServiceAccountToken=False),
        obj(ROLE, metadata, rules=list(rules)),
        obj(
            ROLE_BINDING,
            metadata,
            roleRef={"apiGroup": ROLE.group, "kind": ROLE.kind, "name": name},
            subjects=[{"kind": SERVICE_ACCOUNT.kind, "name": name, "namespace": metadata["namespace"]}],
        ),
    ]
