"""Types of single fields, each with its bounds for Python and for the API server.

A text's pattern is given to the API server as a CEL rule rather than as `pattern`: a rule has a message that says
what is asked for, a pattern only quotes itself.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from shieldx_contract import TENANT_ID_PATTERN

VALIDATIONS: Final = "x-kubernetes-validations"

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PATH_PART: Final = r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?"
_REPOSITORY: Final = rf"{_PATH_PART}(:[0-9]{{1,5}}/{_PATH_PART})?(/{_PATH_PART})*"
_TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_QUALIFIED_NAME: Final = rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"


def cel_text(value: str) -> str:
    """A CEL string literal; raw where it has a backslash, so that a pattern reads as it is written elsewhere.

    Raises:
        ValueError: `value` holds a quote.
    """
    if "'" in value:
        raise ValueError(f"{value!r} holds a quote, which a raw CEL literal can't hold; rewrite the text without it")
    return f"r'{value}'" if "\\" in value else f"'{value}'"


@dataclass(frozen=True, slots=True)
class Text:
    """Marks a `str` that must match `pattern` as a whole; `ask` is what the API server says where it does not.

    `cel` is CEL for a test that a pattern can't make, over `{subject}`; the API server asks it instead.
    """

    pattern: str
    ask: str
    max_length: int
    min_length: int = 1
    cel: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.str_schema(
            pattern=f"^{self.pattern}$", min_length=self.min_length, max_length=self.max_length
        )

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds: dict[str, Any] = {"minLength": self.min_length} if self.min_length else {}
        return {"type": "string", **bounds, "maxLength": self.max_length, VALIDATIONS: [self.rule("self")]}

    def rule(self, subject: str) -> dict[str, str]:
        rule = self.cel.format(subject=subject) or f"{subject}.matches({cel_text(f'^{self.pattern}$')})"
        return {"rule": rule, "message": self.ask}


@dataclass(frozen=True, slots=True)
class Quantity:
    """Marks a `str` that is a positive Kubernetes quantity; YAML's plain numbers (`cpu: 2`) are taken as text."""

    pattern: str
    ask: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value,
            core_schema.str_schema(pattern=f"^{self.pattern}$", max_length=20),
        )

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 20,
            VALIDATIONS: [
                {
                    # the pattern keeps out zero and the forms that nobody means (1e3, 5n); isQuantity is the last word
                    "rule": f"string(self).matches({cel_text(f'^{self.pattern}$')}) && isQuantity(string(self))",
                    "message": self.ask,
                }
            ],
        }


@dataclass(frozen=True, slots=True)
class Inside:
    """Marks a `float` between two bounds that are excluded themselves, which a CRD's `minimum` cannot say."""

    low: float
    high: float
    ask: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.float_schema(gt=self.low, lt=self.high)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        rule = {"rule": f"self > {self.low} && self < {self.high}", "message": self.ask}
        return {"type": "number", "minimum": self.low, "maximum": self.high, VALIDATIONS: [rule]}


CpuQuantity: TypeAlias = Annotated[
    str,
    Quantity(
        r"([1-9][0-9]{0,5}m|[1-9][0-9]{0,2}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])",
        "must be a positive CPU quantity in cores or thousandths: write for instance 2, 0.5 or 500m",
    ),
]
ByteQuantity: TypeAlias = Annotated[
    str,
    Quantity(
        r"([1-9][0-9]{0,14}|([1-9][0-9]{0,5}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])(k|M|G|T|Ki|Mi|Gi|Ti))",
        "must be a positive quantity of bytes: write for instance 512Mi, 2Gi or 1.5Gi",
    ),
]
CacheByteQuantity: TypeAlias = Annotated[
    str,
    Quantity(r"[1-9][0-9]{0,5}(Mi|Gi)", "must be a whole number of Mi or Gi: write for instance 256Mi or 1Gi"),
]

ObjectName: TypeAlias = Annotated[
    str,
    Text(
        rf"{_LABEL}(\.{_LABEL})*",
        "must be the name of an object: lower case letters, digits, '-' and '.', with a letter or digit at both ends",
        253,
    ),
]
SecretKey: TypeAlias = Annotated[
    str, Text(r"[-._a-zA-Z0-9]+", "must be a key of a Secret: letters, digits, '-', '_' and '.' only", 253)
]
Repository: TypeAlias = Annotated[
    str,
    Text(
        _REPOSITORY,
        "must be an image name without tag and digest, such as registry.example.com/team/shieldx-platform; "
        "the tag goes into spec.version",
        255,
    ),
]
ImageReference: TypeAlias = Annotated[
    str,
    Text(
        rf"{_REPOSITORY}(:{_TAG})?(@sha256:[0-9a-f]{{64}})?",
        "must be an image reference such as registry.example.com/library/postgres:17.2 or name@sha256:<64 hex digits>",
        512,
    ),
]
Version: TypeAlias = Annotated[
    str,
    Text(
        r"v?[0-9]+\.[0-9]+\.[0-9]+([-.][0-9A-Za-z][0-9A-Za-z.-]*)?",
        "must be a release of the runtime, such as 0.1.0 or 0.2.0-rc.1: names that move, such as latest, "
        "do not say what runs",
        128,
    ),
]
TENANT_ID: Final = Text(
    TENANT_ID_PATTERN,
    "must be 1 to 63 lower case letters, digits, '.', '_' and '-', with a letter or digit at both ends",
    63,
)
TenantId: TypeAlias = Annotated[str, TENANT_ID]
LabelKey: TypeAlias = Annotated[
    str,
    Text(_QUALIFIED_NAME, "must be a label's key, such as app or example.com/role", 317),
]
LabelValue: TypeAlias = Annotated[
    str,
    Text(
        r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?",
        "must be a label's value: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        63,
        min_length=0,
    ),
]
Cidr: TypeAlias = Annotated[
    str,
    Text(
        r"[0-9a-fA-F:.]+/[0-9]{1,3}",
        "must be addresses in CIDR form, such as 203.0.113.0/24 or 2001:db8::/32; one address is 203.0.113.7/32",
        43,
        cel="isCIDR({subject})",
    ),
]
RuleId: TypeAlias = Annotated[
    str,
    Text(
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
        "must be a rule's id, such as rule-001: at most 63 letters, digits, '-', '_' and '.', with a letter or digit "
        "at both ends",
        63,
    ),
]
ConfigMapKey: TypeAlias = Annotated[
    str, Text(r"[-._a-zA-Z0-9]+", "must be a key of a ConfigMap: letters, digits, '-', '_' and '.' only", 253)
]
VolumePath: TypeAlias = Annotated[
    str,
    Text(
        r"[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+)*",
        "must be the path of a file below the volume's root, without '/' in front and without '..', such as "
        "httpparams/payload_full.csv",
        512,
        cel="{subject}.matches(r'^[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+)*$') && "
        "!{subject}.split('/').exists(part, part == '..' || part == '.')",
    ),
]
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""1 to 65535."""
S3Endpoint: TypeAlias = Annotated[
    str,
    Text(
        rf"https?://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:{_PORT})?",
        "must be the URL of an S3 API without path, such as https://s3.eu-central-1.amazonaws.com or "
        "http://objects.storage.svc:9000",
        253,
    ),
]
S3Bucket: TypeAlias = Annotated[
    str,
    Text(
        r"[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]",
        "must be a bucket's name: 3 to 63 lower case letters, digits, '-' and '.', with a letter or digit at both ends",
        63,
        min_length=3,
    ),
]
S3Region: TypeAlias = Annotated[
    str, Text(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must be a region's name, such as eu-central-1", 32)
]
Prevalence: TypeAlias = Annotated[
    float, Inside(0.0, 1.0, "must be more than 0 and less than 1, such as 0.001 where one request in a thousand is one")
]
