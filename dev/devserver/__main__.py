"""`make dev`: everything up on loopback, an example to try, everything down again."""

import os
import re
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

from dev.devserver.ports import require_free
from dev.devserver.process import Child, StartError
from dev.devserver.service import new_admin_key
from dev.devserver.stack import start
from shieldx_contract import API_KEY_PATTERN, ENV_HEALTH_PORT, ENV_HTTP_PORT, HEALTH_PORT, HTTP_PORT

_ENV_STATE: Final = "SHIELDX_DEV_STATE"
_STATE: Final = Path(os.environ.get(_ENV_STATE) or Path(__file__).resolve().parents[2] / ".state" / "dev")
_ENV_ADMIN_KEY: Final = "SHIELDX_ADMIN_KEY"
_WATCH_S: Final = 0.5

_EXAMPLES: Final = """
credits   {url}
health    {health_url}/readyz and /metrics
log       {log}

Try it in another terminal:

  {export}
  curl -X PUT {url}/credits/tenants/org-123 -H "Authorization: Bearer $SHIELDX_ADMIN_KEY"
  curl {url}/credits/purchase -H "Authorization: Bearer $SHIELDX_ADMIN_KEY" -H 'Content-Type: application/json' \\
    -H "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" -d '{{"tenant_id":"org-123","amount":10000}}'
  curl {url}/credits/consume -H "Authorization: Bearer $SHIELDX_ADMIN_KEY" -H 'Content-Type: application/json' \\
    -H "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" -d '{{"tenant_id":"org-123","amount":100}}'
  curl {url}/credits/balance/org-123 -H "Authorization: Bearer $SHIELDX_ADMIN_KEY"

Ctrl-C stops everything; the data stays in {state}.
"""


class _Stop(BaseException):
    """A signal asked for the end."""


def _on_signal(_: int, __: FrameType | None) -> None:
    # a second signal must not cut the orderly end short
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Stop


def _admin_key() -> tuple[str, str]:
    """The key, and the line that gives it to a shell: only a key made here is shown. Raises: StartError."""
    given = os.environ.get(_ENV_ADMIN_KEY)
    if given is None:
        key = new_admin_key()
        return key, f"export {_ENV_ADMIN_KEY}={key}"
    if not re.fullmatch(API_KEY_PATTERN, given):
        raise StartError(
            f"{_ENV_ADMIN_KEY} is no key: it must be sxk_<16 hexadecimal digits>_<43 characters of base64url>; "
            "unset it to have one made"
        )
    return given, f"# {_ENV_ADMIN_KEY} is the one that you set for this server"


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    try:
        port = int(text)
        require_free(port, variable)
    except (ValueError, OverflowError) as error:
        raise StartError(f"{variable}: {text!r} is no port: set a number from 1 to 65535") from error
    return port


def _run(stack: ExitStack) -> None:
    began = time.monotonic()
    admin_key, export = _admin_key()
    http_port, health_port = _port(ENV_HTTP_PORT, HTTP_PORT), _port(ENV_HEALTH_PORT, HEALTH_PORT)
    _STATE.mkdir(parents=True, exist_ok=True)
    up = start(stack, _STATE, admin_key=admin_key, http_port=http_port, health_port=health_port)
    service = up.service
    print(f"ready after {time.monotonic() - began:.1f} s")
    print(
        _EXAMPLES.format(
            url=service.url,
            health_url=service.health_url,
            log=service.child.log_file,
            export=export,
            state=_STATE,
        ),
        flush=True,
    )
    _watch(up.postgres.child, up.redis.child, service.child)


def _watch(*children: Child) -> None:
    """Returns never; ends by a signal, or when a child dies. Raises: StartError."""
    while True:
        for child in children:
            if not child.running:
                raise StartError(f"{child.name} has ended:\n{child.log_tail()}")
        time.sleep(_WATCH_S)


def main() -> int:
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGINT, _on_signal)
    try:
        with ExitStack() as stack:
            _run(stack)
    except _Stop:
        print("stopped")
        return 0
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
