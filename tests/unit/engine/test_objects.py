from typing import Any

import pytest

from bench.operator.widget import CONFIG_MAPS, WidgetKind
from shieldx_operator.engine import objects
from shieldx_operator.engine.names import APPLIED_ANNOTATION, RETAIN_ANNOTATION
from shieldx_operator.engine.types import Ref, Resource, Stall

GROUP = "g.shieldx.io"
PARENT = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "Widget",
    "metadata": {"namespace": "n", "name": "w", "uid": "uid-1"},
}
RESOURCES = objects.Resources.of(WidgetKind(GROUP))


def config_map(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "n", "name": "c", **metadata},
        "data": {"a": "1"},
    }


def owned_by(uid: str, *, kind: str = "Widget", name: str = "w", group: str = GROUP) -> dict[str, Any]:
    owner = {"apiVersion": f"{group}/v1", "kind": kind, "name": name, "uid": uid, "controller": True}
    return config_map(ownerReferences=[owner])


OUR_LABELS = objects.dress(config_map(), PARENT)["metadata"]["labels"]


def test_an_applied_object_leads_back_to_its_owner_by_reference_and_by_labels() -> None:
    metadata = objects.dress(config_map(labels={"theirs": "x"}), PARENT)["metadata"]
    assert metadata["labels"] == {
        "theirs": "x",
        "app.kubernetes.io/managed-by": "shieldx-operator",
        "platform.shieldx.io/owner-kind": "Widget",
        "platform.shieldx.io/owner-name": "w",
    }
    assert [(o["uid"], o["controller"]) for o in metadata["ownerReferences"]] == [("uid-1", True)]
    assert APPLIED_ANNOTATION in metadata["annotations"]


def test_what_is_retained_has_labels_and_no_owner_reference() -> None:
    metadata = objects.dress(config_map(annotations={RETAIN_ANNOTATION: "true"}), PARENT)["metadata"]
    assert "ownerReferences" not in metadata
    assert metadata["labels"] == OUR_LABELS


def test_dressing_leaves_the_built_object_as_it_is() -> None:
    built = config_map()
    objects.dress(built, PARENT)
    assert built == config_map()


def test_a_name_that_fits_in_no_label_stalls() -> None:
    long = {**PARENT, "metadata": {**PARENT["metadata"], "name": "w" * 64}}  # type: ignore[dict-item]
    with pytest.raises(Stall, match=r"metadata\.name has 64 characters; choose a name of at most 63"):
        objects.dress(config_map(), long)


def test_text_values_of_a_secret_become_data() -> None:
    secret = objects.with_data({"kind": "Secret", "stringData": {"a": "x"}, "data": {"b": "eQ=="}})
    assert secret == {"kind": "Secret", "data": {"b": "eQ==", "a": "eA=="}}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        pytest.param(owned_by("uid-1"), "ours", id="our controller"),
        pytest.param(config_map(labels=OUR_LABELS), "ours", id="kept data with our labels"),
        pytest.param(owned_by("uid-0"), "former", id="a former object of that name"),
        pytest.param(owned_by("uid-0", name="other"), "foreign", id="another object of our kind"),
        pytest.param(owned_by("uid-0", group="apps"), "foreign", id="the same kind and name in another group"),
        pytest.param(config_map(), "foreign", id="no owner, no label"),
        pytest.param(
            config_map(labels={**OUR_LABELS, "platform.shieldx.io/owner-name": "other"}),
            "foreign",
            id="kept data of another object",
        ),
        pytest.param({**owned_by("uid-1"), "metadata": {**owned_by("uid-1")["metadata"], "deletionTimestamp": "t"}},
                     "going", id="ours, being deleted"),
    ],
)  # fmt: skip
def test_whose_an_object_is(live: dict[str, Any], expected: str) -> None:
    assert objects.whose(live, PARENT) == expected


@pytest.mark.parametrize(
    ("labels", "uid", "allowed"),
    [(OUR_LABELS, "uid-1", True), ({}, "uid-1", False), (OUR_LABELS, "uid-0", False)],
    ids=["ours", "without our label", "of a former object"],
)
def test_only_what_carries_our_label_and_our_uid_is_pruned(labels: dict[str, str], uid: str, allowed: bool) -> None:
    live = owned_by(uid)
    live["metadata"]["labels"] = labels
    assert objects.may_prune(live, PARENT) is allowed


def test_what_is_retained_is_never_pruned() -> None:
    assert not objects.may_prune(config_map(labels=OUR_LABELS), PARENT)


def test_the_inventory_is_read_as_it_is_written() -> None:
    refs = [Ref(CONFIG_MAPS, "n", "b"), Ref(CONFIG_MAPS, "n", "a"), Ref(CONFIG_MAPS, "n", "a")]
    entries = objects.inventory_entries(refs)
    assert [e["name"] for e in entries] == ["a", "b"]
    assert objects.inventory_refs({"inventory": entries}, RESOURCES) == frozenset(refs)


def test_an_inventory_entry_of_a_kind_that_is_not_owned_deletes_nothing() -> None:
    entry = objects.inventory_entries([Ref(Resource("", "v1", "Namespace", "namespaces"), "", "kube-system")])
    assert objects.inventory_refs({"inventory": entry}, RESOURCES) == frozenset()


def test_building_what_is_not_declared_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"Pod v1 is built but not declared; add it to the kind's `owned`"):
        RESOURCES.ref({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
