"""Connection URIs in Secrets of the user's: read, and what is wrong with them told without a part of the value."""

import base64
import binascii
from urllib.parse import urlsplit

from shieldx_operator.engine.types import Obj, Observation, Ref


def secret_value(secret: Obj | None, key: str) -> str | None:
    """A value of a Secret as text; None where it is missing or no text."""
    encoded = (secret or {}).get("data", {}).get(key)
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def uri_port(uri: str | None, default: int) -> int:
    """The port of a connection URI, for the egress rule; a URI that cannot be read gets the default."""
    try:
        return urlsplit(uri or "").port or default
    except ValueError:
        return default


def uri_problem(seen: Observation, ref: Ref, key: str, schemes: tuple[str, ...]) -> tuple[str, str] | None:
    """Reason and message where a Secret of the user's can't give a connection URI; never a part of the value."""
    secret = seen.objects.get(ref)
    if secret is None:
        return "SecretNotFound", f"{ref} does not exist; create it with the key {key!r} holding the connection URI"
    value = secret_value(secret, key)
    if value is None:
        return "SecretKeyMissing", f"{ref} has no key {key!r}; add it with the connection URI as its value"
    wanted = " or ".join(f"{s}://" for s in schemes)
    try:
        scheme = urlsplit(value).scheme
    except ValueError:  # its text may hold a part of the value
        text = "the value is no URI; in user name and password write what is no letter or digit as %XX ('[' is %5B)"
        return "SecretInvalid", f"{ref}, key {key!r}: {text}"
    if scheme not in schemes:
        return "SecretInvalid", f"{ref}, key {key!r}: the value is no URI that starts with {wanted}"
    return None
