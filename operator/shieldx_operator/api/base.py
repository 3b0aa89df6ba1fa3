"""What every type of the API shares: camelCase names, no unknown field, no change after parsing."""

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

_INITIALISMS: Final = frozenset({"cpu", "id", "ttl"})


def api_name(name: str) -> str:
    """The Kubernetes form of a field's name: `target_cpu_utilization` is `targetCPUUtilization`."""
    first, *rest = name.split("_")
    return first + "".join(word.upper() if word in _INITIALISMS else word.capitalize() for word in rest)


class Model(BaseModel):
    """A part of a custom resource. Absent fields are None: what they mean then stands in `defaults`."""

    model_config = ConfigDict(
        alias_generator=api_name,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The Kubernetes form: camelCase, without the fields that are not set. An empty object stays one."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Parses the Kubernetes form; None reads as an empty object.

        Raises:
            pydantic.ValidationError: a field is unknown, has another type or breaks its own bounds.
        """
        return cls.model_validate({} if value is None else value)
