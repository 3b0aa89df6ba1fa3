"""Who may talk to whom in a CreditsService: callers to the API, the API to its stores, nothing else."""

from shieldx_contract import HEALTH_PORT, HTTP_PORT, LABEL_NAME, OPERATOR_APP_NAME
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.network import (
    DNS,
    PUBLIC_HTTPS,
    Rule,
    egress,
    ingress,
    peers_elsewhere,
    peers_in_namespace,
    policy,
)
from shieldx_operator.blocks.uri import secret_value, uri_port
from shieldx_operator.engine.types import Obj, Observation, Ref
from shieldx_operator.kinds.creditsservice.view import (
    API_COMPONENT,
    MIGRATION_COMPONENT,
    RECONCILIATION_COMPONENT,
    View,
)
from shieldx_operator.settings import OperatorSettings


def build(v: View, seen: Observation, settings: OperatorSettings) -> list[Obj]:
    """A default deny over all pods of the service, and one policy a component that opens what it needs."""
    s = v.service
    operator = peers_elsewhere(settings.operator_namespace, {LABEL_NAME: OPERATOR_APP_NAME})
    callers = [p.to_json() for p in v.effective.network.allow_from]
    scrapers = [p.to_json() for p in v.effective.network.metrics_from]
    policies = [
        policy(s.metadata("-default-deny", API_COMPONENT), s.selector()),
        policy(
            s.metadata("-api", API_COMPONENT),
            s.selector(API_COMPONENT),
            ingress=[
                ingress([*callers, *operator], HTTP_PORT),
                *([ingress(scrapers, HEALTH_PORT)] if scrapers else []),
            ],
            egress=[
                DNS,
                _to_database(v, seen, v.database_secret, v.database_key),
                _to_cache(v, seen),
                *([PUBLIC_HTTPS] if v.effective.alerts.webhooks == "Public" else []),
            ],
        ),
        policy(
            s.metadata("-migration", MIGRATION_COMPONENT),
            s.selector(MIGRATION_COMPONENT),
            egress=[DNS, _to_database(v, seen, v.owner_secret, v.owner_key)],
        ),
        policy(
            s.metadata("-reconciliation", RECONCILIATION_COMPONENT),
            s.selector(RECONCILIATION_COMPONENT),
            egress=[DNS, _to_database(v, seen, v.database_secret, v.database_key)],
        ),
    ]
    api = peers_in_namespace(s.selector(API_COMPONENT))
    jobs = [
        *peers_in_namespace(s.selector(MIGRATION_COMPONENT)),
        *peers_in_namespace(s.selector(RECONCILIATION_COMPONENT)),
    ]
    if v.effective.database.managed:
        policies.append(
            policy(
                s.metadata(postgres.SUFFIX, postgres.COMPONENT),
                s.selector(postgres.COMPONENT),
                ingress=[ingress([*api, *jobs], postgres.PORT)],
            )
        )
    if v.effective.cache.managed:
        policies.append(
            policy(
                s.metadata(redis.SUFFIX, redis.COMPONENT),
                s.selector(redis.COMPONENT),
                ingress=[ingress(api, redis.PORT)],
            )
        )
    return policies


def _to_database(v: View, seen: Observation, secret: Ref, key: str) -> Rule:
    managed = v.effective.database.managed is not None
    return _to_store(v, seen, postgres.COMPONENT if managed else None, secret, key, postgres.PORT)


def _to_cache(v: View, seen: Observation) -> Rule:
    managed = v.effective.cache.managed is not None
    return _to_store(v, seen, redis.COMPONENT if managed else None, v.cache_secret, v.cache_key, redis.PORT)


def _to_store(v: View, seen: Observation, component: str | None, secret: Ref, key: str, port: int) -> Rule:
    """To the managed pod; or to the port of an external URI, at any address: a policy knows no host names."""
    if component is not None:
        return egress(peers_in_namespace(v.service.selector(component)), port)
    return egress((), uri_port(secret_value(seen.objects.get(secret), key), port))
