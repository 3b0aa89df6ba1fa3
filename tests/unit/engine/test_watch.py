from typing import Any

import pytest

from bench.operator.widget import CONFIG_MAPS, widgets
from shieldx_operator.engine.sweep import still_suspect, suspects
from shieldx_operator.engine.types import Ref
from shieldx_operator.engine.watch import led_to, parent_of

GROUP = "g.shieldx.io"
WIDGETS = widgets(GROUP)
KINDS = {(GROUP, "Widget"): WIDGETS}
A, B = Ref(WIDGETS, "n", "a"), Ref(WIDGETS, "n", "b")


def owned(*owners: dict[str, Any], **labels: str) -> dict[str, Any]:
    named = {f"platform.shieldx.io/{k.replace('_', '-')}": v for k, v in labels.items()}
    return {"metadata": {"namespace": "n", "name": "c", "ownerReferences": list(owners), "labels": named}}


def owner(api_version: str, *, controller: bool = True) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Widget", "name": "a", "uid": "u", "controller": controller}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        pytest.param(owned(owner(f"{GROUP}/v1")), A, id="by its controller"),
        pytest.param(owned(owner(f"{GROUP}/v1beta1")), A, id="by its controller in another version"),
        pytest.param(owned(owner("apps/v1")), None, id="a controller of another group"),
        pytest.param(owned(owner(f"{GROUP}/v1", controller=False)), None, id="an owner that does not control"),
        pytest.param(owned(owner_kind="Widget", owner_name="a"), A, id="by its labels, where it has no owner"),
        pytest.param(owned(owner_kind="Gadget", owner_name="a"), None, id="labels of a kind that is not ours"),
        pytest.param(owned(owner_kind="Widget"), None, id="half of the labels"),
        pytest.param({"metadata": {"name": "c"}}, None, id="nothing at all"),
    ],
)
def test_an_owned_object_leads_to_its_custom_resource(obj: dict[str, Any], expected: Ref | None) -> None:
    assert parent_of(obj, KINDS) == expected


def test_an_object_leads_to_its_owner_and_to_all_that_it_concerns() -> None:
    obj = owned(owner(f"{GROUP}/v1"))
    obj["metadata"]["annotations"] = {"platform.shieldx.io/concerns": "Widget/b Gadget/x Widget/d"}
    assert led_to(obj, KINDS) == [A, B, Ref(WIDGETS, "n", "d")]
    assert led_to({"metadata": {"name": "c"}}, KINDS) == []


def test_what_watch_and_list_agree_on_is_not_suspect() -> None:
    assert suspects({A: "1", B: "2"}, {A: "1", B: "2"}) == {}


def test_a_watch_that_missed_a_change_a_creation_or_a_deletion_is_suspect() -> None:
    gone = Ref(CONFIG_MAPS, "n", "gone")
    assert suspects({A: "2", B: "1"}, {A: "1", gone: "7"}) == {A: "1", B: None, gone: "7"}


def test_a_watch_that_tells_of_it_a_moment_later_is_no_longer_suspect() -> None:
    before = suspects({A: "2", B: "5"}, {A: "1", B: "4"})
    assert still_suspect(before, {A: "3", B: "4"}) == [B]
