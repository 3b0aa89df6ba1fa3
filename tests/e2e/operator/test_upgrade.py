"""A newer operator restarts nothing; a newer version of a service is somebody's decision, and then it rolls."""

from collections.abc import Iterator

import pytest

from shieldx_operator.blocks.resources import DEPLOYMENT, POD
from shieldx_operator.engine.types import Ref
from tests.e2e.operator.life import IMAGE, SERVICE, VERSION, Life, wait_ready
from tests.e2e.operator.release import Release
from tests.e2e.operator.site import Site

NEWER = "0.2.0-e2e"


@pytest.fixture(scope="module")
def upgraded(site: Site, any_release: Release, standing: Life) -> Iterator[dict[str, tuple[str, int]]]:
    """The pods of the standing service before the operator became another image, which it deploys as well."""
    any_release.ensure()
    any_release.wait_idle()
    before = standing.pods()
    site.tag_image(f"{IMAGE}:{VERSION}", f"{IMAGE}:{NEWER}")
    any_release.ensure(image={"tag": NEWER})
    any_release.wait_idle()
    yield before
    site.merge(standing.service, {"spec": {"version": VERSION}})
    wait_ready(site, standing.service)


def test_an_upgrade_of_the_operator_restarts_no_pod(
    site: Site, any_release: Release, standing: Life, upgraded: dict[str, tuple[str, int]]
) -> None:
    images = {p["spec"]["containers"][0]["image"] for p in any_release.pods()}
    assert images == {f"{IMAGE}:{NEWER}"}
    assert len(upgraded) == 5
    assert standing.pods() == upgraded
    status = wait_ready(site, standing.service)["status"]
    assert status["version"] == VERSION


def test_an_object_that_names_no_version_keeps_the_one_it_has(
    site: Site, standing: Life, upgraded: dict[str, tuple[str, int]]
) -> None:
    site.merge(standing.service, {"spec": {"version": None}})
    assert wait_ready(site, standing.service)["status"]["version"] == VERSION
    assert standing.pods() == upgraded


def test_the_version_of_the_object_rolls_its_pods(
    site: Site, standing: Life, upgraded: dict[str, tuple[str, int]]
) -> None:
    balance = standing.balance()
    site.merge(standing.service, {"spec": {"version": NEWER}})
    status = wait_ready(site, standing.service)["status"]
    assert status["version"] == NEWER
    deployment = site.there(Ref(DEPLOYMENT, standing.namespace, SERVICE))
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"{IMAGE}:{NEWER}"
    serving = [
        p
        for p in site.list(POD, standing.namespace, "app.kubernetes.io/component=api")
        if "deletionTimestamp" not in p["metadata"]
    ]
    assert {p["spec"]["containers"][0]["image"] for p in serving} == {f"{IMAGE}:{NEWER}"}
    assert not upgraded.keys() & {p["metadata"]["name"] for p in serving}
    stores = {name: kept for name, kept in standing.pods().items() if name.endswith("-0")}
    assert stores == {name: kept for name, kept in upgraded.items() if name.endswith("-0")}
    assert standing.balance() == balance
