"""Who may talk to whom in a CreditsService: callers to the API, the API to its stores, nothing else."""

from shieldx_contract import HEALTH_PORT, HTTP_PORT, LABEL_NAME, OPERATOR_APP_NAME
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.network import (
    DNS,
    Rule,
    egress,
    ingress,
    peers_elsewhere,
    peers_in_namespace,
    policy,
)
from shieldx_operator.blocks.uri import secret_value, uri_port
from shieldx_operator.engine.types import Obj, Observation
from shieldx_operator.kinds.creditsservice.view import (
    API_COMPONENT,
    MIGRATION_COMPONENT,
    View,
)
from shieldx_operator.settings import OperatorSettings


def build(v: View, seen: Observation, settings: OperatorSettings) -> list[Obj]:
    """A default deny over all pods of the service, and one policy a component that opens what it needs."""
    s = v.service
    operator = peers_elsewhere(settings.operator_namespace, {LABEL_NAME: OPERATOR_APP_NAME})
    callers = [p.to_json() for p in v.effective.network.allow_from]
    scrapers = [p.to_json() for p in v.effective.network.metrics_from]
    to_database = _to_store(v, seen, postgres.COMPONENT)
    to_cache = _to_store(v, seen, redis.COMPONENT)
    policies = [
        policy(s.metadata("-default-deny", API_COMPONENT), s.selector()),
        policy(
            s.metadata("-api", API_COMPONENT),
            s.selector(API_COMPONENT),
            ingress=[
                ingress([*callers, *operator], HTTP_PORT),
                *([ingress(scrapers, HEALTH_PORT)] if scrapers else []),
            ],
            egress=[DNS, to_database, to_cache],
        ),
        policy(
            s.metadata("-migration", MIGRATION_COMPONENT),
            s.selector(MIGRATION_COMPONENT),
            egress=[DNS, to_database],
        ),
    ]
    api = peers_in_namespace(s.selector(API_COMPONENT))
    migration = peers_in_namespace(s.selector(MIGRATION_COMPONENT))
    if v.effective.database.managed:
        policies.append(
            policy(
                s.metadata(postgres.SUFFIX, postgres.COMPONENT),
                s.selector(postgres.COMPONENT),
                ingress=[ingress([*api, *migration], postgres.PORT)],
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


def _to_store(v: View, seen: Observation, component: str) -> Rule:
    """To the managed pod; or to the port of an external URI, at any address: a policy knows no host names."""
    if component == postgres.COMPONENT:
        managed, secret, key, port = (
            v.effective.database.managed,
            v.database_secret,
            v.database_key,
            postgres.PORT,
        )
    else:
        managed, secret, key, port = v.effective.cache.managed, v.cache_secret, v.cache_key, redis.PORT
    if managed is not None:
        return egress(peers_in_namespace(v.service.selector(component)), port)
    return egress((), uri_port(secret_value(seen.objects.get(secret), key), port))
