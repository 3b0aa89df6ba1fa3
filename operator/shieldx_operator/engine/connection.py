"""Which cluster the operator talks to, and as whom."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME, load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the credentials come from. Nothing given: the pod's own in a cluster, else the user's kubeconfig."""

    kubeconfig: str | None = None
    context: str | None = None

    @property
    def own_pod(self) -> bool:
        return (
            self.kubeconfig is None
            and self.context is None
            and SERVICE_HOST_ENV_NAME in os.environ
            and Path(SERVICE_TOKEN_FILENAME).exists()
        )

    async def configuration(self) -> Configuration:
        """Credentials read anew, so that a renewed token is seen.

        Raises:
            kubernetes.aio.config.ConfigException: there are none, or they are not usable.
        """
        configuration = Configuration()
        if self.own_pod:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=self.kubeconfig,
                context=self.context,
                client_configuration=configuration,
                persist_config=False,
            )
        # with trust_env aiohttp asks a thread for proxies before each request: a third of a call's cost
        configuration.client_session_kwargs = {"trust_env": _behind_proxy()}
        return configuration

    async def client(self) -> ApiClient:
        return ApiClient(await self.configuration())


def _behind_proxy() -> bool:
    return any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))


def ssl_context(configuration: Configuration) -> ssl.SSLContext:
    """The TLS side of a configuration, as `kubernetes.aio` makes it for its own session."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
