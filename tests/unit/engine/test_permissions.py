from bench.operator.widget import WidgetKind
from shieldx_operator.engine import permissions
from shieldx_operator.engine.permissions import Rule
from shieldx_operator.engine.types import Resource

PODS = Resource("", "v1", "Pod", "pods")
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps")
GROUP = "g.shieldx.io"


class Looking(WidgetKind):
    """A kind that reads pods."""

    looks_at = (PODS,)


class Listing(WidgetKind):
    """A kind that lists pods, and prunes no ConfigMap."""

    lists = (PODS,)
    lasting = (CONFIG_MAPS,)


class LetGo(WidgetKind):
    """A kind whose objects never hold the engine's finalizer."""

    finalizes = False


def test_rules_follow_from_the_kinds() -> None:
    assert permissions.required([Looking(GROUP)]) == [
        Rule("", ("configmaps", "secrets"), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("pods",), ("get", "list")),
        Rule("events.k8s.io", ("events",), ("create",)),
        Rule(GROUP, ("widgets",), ("get", "list", "watch", "patch")),
        Rule(GROUP, ("widgets/status",), ("patch",)),
    ]


def test_what_is_only_listed_is_not_got_and_what_is_never_pruned_not_deleted() -> None:
    rules = permissions.required([Listing(GROUP)])
    assert Rule("", ("pods",), ("list",)) in rules
    assert Rule("", ("configmaps",), ("get", "list", "watch", "create", "patch")) in rules


def test_a_kind_without_finalizer_needs_no_change_of_the_object_itself() -> None:
    rules = permissions.required([LetGo(GROUP)])
    assert Rule(GROUP, ("widgets",), ("get", "list", "watch")) in rules


def test_the_lease_is_asked_for_in_the_operators_own_namespace_alone() -> None:
    assert permissions.required_at_home() == [Rule("coordination.k8s.io", ("leases",), ("get", "create", "update"))]


def test_a_rule_is_written_as_rbac_reads_it() -> None:
    assert Rule("apps", ("deployments",), ("get",)).to_json() == {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get"],
    }
