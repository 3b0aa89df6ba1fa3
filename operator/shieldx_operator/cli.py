"""The commands: run the operator, show what a file would do, say the version."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml
from kubernetes.aio.config.config_exception import ConfigException

from shieldx_operator.engine import logs
from shieldx_operator.engine.client import ApiError, Client
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.preview import Change, diff_text, preview
from shieldx_operator.engine.run import Operator, Options
from shieldx_operator.engine.types import Kind, Obj, Stall
from shieldx_operator.kinds import kinds
from shieldx_operator.settings import OperatorSettings, SettingsError

EXIT_SAME: Final = 0
EXIT_ERROR: Final = 1
EXIT_DIFFERENT: Final = 2
_MARKS: Final = {"create": "+", "change": "~", "none": "=", "delete": "-", "conflict": "!"}
_COLOURS: Final = {"+": typer.colors.GREEN, "-": typer.colors.RED, "@": typer.colors.CYAN}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
KubeconfigOption = Annotated[
    str | None, typer.Option(help="Kubeconfig file; unset: the pod's own account, else yours.")
]
ContextOption = Annotated[str | None, typer.Option(help="Context of the kubeconfig; unset: its current one.")]


def _fail(message: str) -> typer.Exit:
    typer.secho(message, fg=typer.colors.RED, err=True)
    return typer.Exit(EXIT_ERROR)


def _settings() -> OperatorSettings:
    try:
        return OperatorSettings.from_environment(os.environ)
    except SettingsError as error:
        raise _fail(f"cannot start: {error}") from None


@app.command()
def run(kubeconfig: KubeconfigOption = None, context: ContextOption = None) -> None:
    """Keep the platform as its custom resources say, until SIGTERM."""
    settings = _settings()
    logs.configure(settings.log_level)
    options = Options(
        operator_namespace=settings.operator_namespace,
        pod_name=settings.pod_name,
        namespaces=settings.watch_namespaces,
        resync_s=settings.resync_s,
        workers=settings.workers,
        health_port=settings.health_port,
    )
    operator = Operator(options, kinds(settings), Cluster(kubeconfig, context))
    try:
        code = operator.main()
    except ConfigException as error:
        raise _fail(f"cannot start: no usable credentials for a cluster: {error}") from None
    raise typer.Exit(code)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="YAML with one or more custom resources; - reads standard input.")],
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: Annotated[str, typer.Option(help="For objects that name none.")] = "default",
    *,
    offline: Annotated[bool, typer.Option(help="Ask no cluster; print what would be built from nothing.")] = False,
    objects: Annotated[bool, typer.Option(help="Print the objects as well, not the difference alone.")] = True,
) -> None:
    """Show the objects that applying FILE would give, and how they differ from what is there. Changes nothing.

    Exit code: 0 nothing differs (always with --offline), 2 something does, 1 an error.
    """
    registered = kinds(_settings())
    documents, others = _sorted([_placed(d, namespace) for d in _documents(file)], registered)
    try:
        changes = asyncio.run(_changes(documents, registered, Cluster(kubeconfig, context), offline=offline))
    except ApiError as error:
        raise _fail(f"the API server refuses: {error.message}") from None
    except Stall as stall:
        raise _fail(f"{stall.reason}: {stall.message}") from None
    except ConfigException as error:
        raise _fail(f"no usable credentials for a cluster (or use --offline): {error}") from None
    _print(changes, others, with_objects=objects, with_diff=not offline)
    raise typer.Exit(EXIT_SAME if offline or not any(c.differs for c in changes) else EXIT_DIFFERENT)


@app.command()
def version() -> None:
    """Print the operator's version."""
    typer.echo(_settings().operator_version)


def _documents(file: Path) -> list[Obj]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        found = [d for d in yaml.safe_load_all(text) if d is not None]
    except OSError as error:
        raise _fail(f"{file} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise _fail(f"{file} is not YAML: {error}") from None
    for document in found:
        if not isinstance(document, dict) or not (document.get("metadata") or {}).get("name"):
            raise _fail(f"{file}: every document must be an object with metadata.name")
    return found


def _placed(document: Obj, namespace: str) -> Obj:
    metadata: dict[str, Any] = document["metadata"]
    return {**document, "metadata": {"namespace": namespace, **metadata}}


def _type(document: Obj) -> tuple[str, str]:
    return str(document.get("apiVersion")), str(document.get("kind"))


def _by_type(registered: tuple[Kind, ...]) -> dict[tuple[str, str], Kind]:
    return {(k.resource.api_version, k.resource.kind): k for k in registered}


def _sorted(documents: list[Obj], registered: tuple[Kind, ...]) -> tuple[list[Obj], list[Obj]]:
    """What this operator keeps, and what only comes along in the file: a ConfigMap that one of them reads."""
    by_type = _by_type(registered)
    ours = [d for d in documents if _type(d) in by_type]
    others = [d for d in documents if _type(d) not in by_type]
    if others and not ours:
        version, kind = _type(others[0])
        known = ", ".join(f"{kind} ({version})" for version, kind in sorted(by_type))
        raise _fail(f"{kind} ({version}) is not a kind of this operator; known are {known}")
    return ours, others


async def _changes(
    documents: list[Obj], registered: tuple[Kind, ...], cluster: Cluster, *, offline: bool
) -> list[Change]:
    by_type = _by_type(registered)
    found: list[Change] = []
    api = None if offline else await cluster.client()
    client = None if api is None else Client(api, Metrics())
    try:
        for document in documents:
            found += await preview(by_type[_type(document)], document, client, datetime.now(UTC))
    finally:
        if api is not None:
            await api.close()  # type: ignore[no-untyped-call]
    return found


def _print(changes: list[Change], others: list[Obj], *, with_objects: bool, with_diff: bool) -> None:
    if with_objects:
        for change in changes:
            if change.after is not None:
                typer.echo("---")
                typer.echo(yaml.safe_dump(change.after, sort_keys=False).rstrip())
    if with_diff:
        typer.echo("# --- difference to what is there")
        for change in changes:
            if change.action in ("change", "delete", "create"):
                for line in diff_text(change).splitlines():
                    typer.secho(line, fg=_COLOURS.get(line[:1]))
    typer.echo("# --- summary")
    for change in changes:
        note = f": {change.note}" if change.note else ""
        typer.echo(f"# {_MARKS[change.action]} {change.action} {change.ref}{note}")
    for document in others:
        typer.echo(f"# . left out {document['kind']} {document['metadata']['name']}: not a kind of this operator")
