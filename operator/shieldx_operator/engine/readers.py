"""Who has read whom: custom resources that rest on another one must look again when that one is gone.

A look that finds nothing asks again on its own (`Status.requeue_after_s`); one that found all it wanted does not, and
no event leads from the other object to it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from shieldx_operator.engine.types import Ref, Resource


@dataclass(slots=True)
class Readers:
    """Of objects of `resources` alone, the registered custom resources."""

    resources: Collection[Resource]
    _of: dict[Ref, set[Ref]] = field(default_factory=dict)

    def note(self, reader: Ref, read: Iterable[Ref]) -> None:
        for ref in read:
            if ref.resource in self.resources and ref != reader:
                self._of.setdefault(ref, set()).add(reader)

    def gone(self, ref: Ref) -> list[Ref]:
        """The readers of an object that is no more. It is none of anybody's readers itself from now on."""
        for readers in self._of.values():
            readers.discard(ref)
        return sorted(self._of.pop(ref, ()))
