from bench.operator.widget import WidgetKind
from shieldx_operator.engine.objects import Resources
from shieldx_operator.engine.reconcile import _Look
from shieldx_operator.engine.types import Obj, Ref

GROUP = "g.shieldx.io"
TOLD: Obj = {"size": 3, "shards": [{"index": 0}]}


class Shared(WidgetKind):
    """A kind whose workers write a part of its status themselves."""

    told_by_others = frozenset({"shards"})


def look(kind: WidgetKind) -> _Look:
    parent: Obj = {"metadata": {"namespace": "n", "name": "w"}, "status": TOLD}
    return _Look(Ref(kind.resource, "n", "w"), kind, parent, Resources.of(kind), frozenset())


def test_a_field_that_others_tell_is_never_written_again_as_ones_own() -> None:
    assert look(Shared(GROUP)).status == {"size": 3}
    assert look(Shared(GROUP)).parent["status"] == TOLD


def test_without_a_word_the_whole_status_is_the_operators() -> None:
    assert look(WidgetKind(GROUP)).status == TOLD
