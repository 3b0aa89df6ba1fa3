"""Tests that uninstall operators in a cluster touch nothing that is not theirs."""

from typing import Any

import pytest

from shieldx_operator.blocks.resources import DEPLOYMENT
from shieldx_operator.engine.types import Obj, Ref, Resource
from shieldx_operator.kinds.creditsservice import RESOURCE as SERVICES
from tests.e2e.operator.release import Release
from tests.e2e.operator.site import NAMESPACES, PREFIX, Done, nobody

OURS = Done(0, f"{PREFIX}calm   credits   True\n", "")
NONE = Done(0, "", "No resources found\n")
UNKNOWN = Done(1, "", 'error: the server doesn\'t have a resource type "creditsservices"\n')


@pytest.mark.parametrize(
    ("said", "empty"),
    [
        ([NONE, OURS, UNKNOWN], True),
        ([NONE, Done(0, "payments   credits   True\n", "")], False),
        ([NONE, Done(0, f"{OURS.out}payments   credits   True\n", "")], False),
        ([NONE, Done(1, "", "Unable to connect to the server: net/http: TLS handshake timeout\n")], False),
        ([UNKNOWN, Done(1, "", "Error from server (Forbidden): creditsservices is forbidden\n")], False),
    ],
)
def test_a_list_that_failed_is_not_taken_for_an_empty_one(said: list[Done], empty: bool) -> None:
    assert nobody(said) is empty


class Cluster:
    """What is there, and what was done to it."""

    def __init__(self) -> None:
        self.there: dict[Resource, list[Obj]] = {
            SERVICES: [self.named("credits", f"{PREFIX}calm"), self.named("credits", "payments")],
            NAMESPACES: [self.named(f"{PREFIX}calm"), self.named("payments"), self.named("shieldx-e2e-other")],
            DEPLOYMENT: [],
        }
        self.touched: list[str] = []

    @staticmethod
    def named(name: str, namespace: str = "") -> Obj:
        return {"metadata": {"name": name, "namespace": namespace}}

    def get(self, _: Ref) -> Obj | None:
        return None

    def serves(self, resource: Resource) -> bool:
        return resource in self.there

    def list(self, resource: Resource) -> list[Obj]:
        return self.there[resource]

    def merge(self, ref: Ref, _: Obj) -> None:
        self.touched.append(f"{ref.namespace}/{ref.name}")

    def delete(self, ref: Ref) -> None:
        self.touched.append(f"{ref.namespace}/{ref.name}")


def test_only_namespaces_of_these_tests_are_cleared() -> None:
    cluster: Any = Cluster()
    Release(cluster).remove_all_traces(wait=False)
    assert cluster.touched == [f"{PREFIX}calm/credits", f"{PREFIX}calm/credits", f"/{PREFIX}calm"]
