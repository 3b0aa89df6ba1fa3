"""An operator process with the Widget kind alone: what the benchmark measures and the tests kill."""

import argparse
import sys

from bench.operator.widget import WidgetKind
from shieldx_operator.engine import logs
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.run import Operator, Options


def main() -> int:
    """Runs until it is told to end; the exit code is the operator's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--everywhere", default="no", choices=("yes", "no"), help="watch the whole cluster")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--resync-s", type=float, default=600)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--watch-timeout-s", type=int, default=240)
    parser.add_argument("--lease", default="widget-operator")
    parser.add_argument("--name", default="widget-operator-0")
    parser.add_argument("--log-level", default="info")
    args = parser.parse_args()
    logs.configure(args.log_level)
    options = Options(
        operator_namespace=args.namespace,
        pod_name=args.name,
        namespaces=() if args.everywhere == "yes" else (args.namespace,),
        resync_s=args.resync_s,
        workers=args.workers,
        health_port=args.port,
        lease_name=args.lease,
        watch_timeout_s=args.watch_timeout_s,
    )
    return Operator(options, [WidgetKind(args.group)], Cluster(kubeconfig=args.kubeconfig)).main()


if __name__ == "__main__":
    sys.exit(main())
