"""Built objects made ready for the API server, and the question whose object a live one is. Pure."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shieldx_contract import LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME, MANAGED_BY
from shieldx_operator.engine import diff
from shieldx_operator.engine.names import APPLIED_ANNOTATION, MAX_LABEL_VALUE, RETAIN_ANNOTATION
from shieldx_operator.engine.types import Kind, Obj, Ref, Resource, Stall


@dataclass(frozen=True, slots=True)
class Resources:
    """The API resources that a kind may speak of, found by apiVersion and kind."""

    by_kind: Mapping[tuple[str, str], Resource]

    @classmethod
    def of(cls, kind: Kind) -> "Resources":
        return cls({(r.api_version, r.kind): r for r in (kind.resource, *kind.owned)})

    def resource(self, obj: Obj) -> Resource:
        """The resource of `obj`.

        Raises:
            ValueError: the kind does not declare that it owns such objects; without that they would not be watched.
        """
        key = (str(obj.get("apiVersion")), str(obj.get("kind")))
        if key not in self.by_kind:
            raise ValueError(f"{key[1]} {key[0]} is built but not declared; add it to the kind's `owned`")
        return self.by_kind[key]

    def ref(self, obj: Obj) -> Ref:
        metadata = obj["metadata"]
        return Ref(self.resource(obj), metadata.get("namespace", ""), metadata["name"])


def is_true(flag: object) -> bool:
    return flag == "true"


def retained(obj: Obj) -> bool:
    """Whether a built object outlives its owner: it gets no owner reference."""
    return is_true((obj["metadata"].get("annotations") or {}).get(RETAIN_ANNOTATION))


def dress(built: Obj, parent: Obj) -> Obj:
    """A built object as it is applied: with labels and a reference that lead back to `parent`, and its own digest.

    Raises:
        Stall: the parent's name does not fit into a label.
    """
    name = parent["metadata"]["name"]
    if len(name) > MAX_LABEL_VALUE:
        raise Stall(
            "NameTooLong",
            f"metadata.name has {len(name)} characters; choose a name of at most {MAX_LABEL_VALUE}, "
            "because objects are found by it as a label",
        )
    metadata = dict(built["metadata"])
    metadata["labels"] = {
        **metadata.get("labels", {}),
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_OWNER_KIND: parent["kind"],
        LABEL_OWNER_NAME: name,
    }
    if not retained(built):
        metadata["ownerReferences"] = [owner_reference(parent)]
    body = with_data({**built, "metadata": metadata})
    metadata["annotations"] = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: diff.digest(body)}
    return body


def with_data(obj: Obj) -> Obj:
    """A Secret's `stringData` written as `data`: it is what the server stores, and ownership of fields is kept on."""
    if obj.get("kind") != "Secret" or "stringData" not in obj:
        return obj
    encoded = {k: base64.b64encode(str(v).encode()).decode() for k, v in obj["stringData"].items()}
    return {**{k: v for k, v in obj.items() if k != "stringData"}, "data": {**obj.get("data", {}), **encoded}}


def owner_reference(parent: Obj) -> Obj:
    # no blockOwnerDeletion: it would need one more permission (finalizers of the owner) and buys nothing here
    metadata = parent["metadata"]
    return {
        "apiVersion": parent["apiVersion"],
        "kind": parent["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }


Whose = Literal["ours", "former", "going", "foreign"]


def whose(live: Obj, parent: Obj) -> Whose:
    """Whose object `live` is, seen from `parent`.

    `ours`: its controller is this very object, or it has none and its labels name this object (data kept from a
    former object of that name). `going`: ours, and being deleted. `former`: its controller was an object of this name
    that is gone; the garbage collector is about to delete it. `foreign`: everything else.
    """
    metadata = live["metadata"]
    controller = next((r for r in metadata.get("ownerReferences", []) if r.get("controller")), None)
    if controller is None:
        mine = _labels_name(metadata.get("labels") or {}, parent)
    elif controller.get("uid") == parent["metadata"]["uid"]:
        mine = True
    elif (controller.get("kind"), controller.get("name")) == (parent["kind"], parent["metadata"]["name"]) and (
        str(controller.get("apiVersion", "")).split("/")[0] == parent["apiVersion"].split("/")[0]
    ):
        return "former"
    else:
        return "foreign"
    if not mine:
        return "foreign"
    return "going" if "deletionTimestamp" in metadata else "ours"


def may_prune(live: Obj, parent: Obj) -> bool:
    """Whether a live object that the inventory names may be deleted.

    It must carry our label and name this very object as its controller.
    """
    metadata = live["metadata"]
    labelled = (metadata.get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY
    uid = parent["metadata"]["uid"]
    return labelled and any(r.get("controller") and r.get("uid") == uid for r in metadata.get("ownerReferences", []))


def _labels_name(labels: Mapping[str, str], parent: Obj) -> bool:
    return (
        labels.get(LABEL_MANAGED_BY) == MANAGED_BY
        and labels.get(LABEL_OWNER_KIND) == parent["kind"]
        and labels.get(LABEL_OWNER_NAME) == parent["metadata"]["name"]
    )


# --- the inventory in a status


def inventory_entries(refs: Iterable[Ref]) -> list[Obj]:
    """The inventory as it stands in a status, sorted."""
    return [
        {
            "group": ref.resource.group,
            "version": ref.resource.version,
            "kind": ref.resource.kind,
            "namespace": ref.namespace,
            "name": ref.name,
        }
        for ref in sorted(set(refs))
    ]


def inventory_refs(status: Mapping[str, Any], resources: Resources) -> frozenset[Ref]:
    """What the inventory of a status names.

    Entries of resources that the kind no longer owns are left out: nothing is deleted that the kind does not speak of.
    """
    refs = []
    for entry in status.get("inventory") or []:
        group, version = entry.get("group", ""), entry.get("version", "")
        resource = resources.by_kind.get((f"{group}/{version}" if group else version, entry.get("kind", "")))
        if resource is not None:
            refs.append(Ref(resource, entry.get("namespace", ""), entry.get("name", "")))
    return frozenset(refs)
