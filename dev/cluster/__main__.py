"""Command line of the local cluster; see ``python3 -m dev.cluster --help``."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from dev.cluster import images, lifecycle
from dev.cluster import place as places
from dev.cluster.place import Place
from dev.localkube.process import StepError

EPILOG = """environment:
  CONTEXT=NAME            use that context of your own kubeconfig; nothing is made and nothing deleted
  SHIELDX_LOCALKUBE=DIR   folder with the archive of ready-built programs (checked by SHA-256)
  XDG_CACHE_HOME=DIR      caches are kept in DIR/shieldx (default ~/.cache/shieldx)
  SHIELDX_CLUSTER_NAME, SHIELDX_CLUSTER_LINK
                          another cluster beside the usual one, for tests: its name (default shieldx) and the /30 of
                          its link to this machine (default 198.18.250.0/30)
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python3 -m dev.cluster",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="make the cluster, or reuse a healthy one; prints the export line")
    down = commands.add_parser("down", help="remove it and all that it left on this machine")
    down.add_argument("--purge", action="store_true", help="remove the caches too")
    kubectl = commands.add_parser("kubectl", help="talk to it", add_help=False, prefix_chars="\0")
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser("env", help="print `export KUBECONFIG=...`")
    commands.add_parser("status", help="say what is there")
    load = commands.add_parser("load", help="put image archives into the node")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    node = commands.add_parser("exec-node", help="run a command in the node", add_help=False, prefix_chars="\0")
    node.add_argument("arguments", nargs=argparse.REMAINDER, metavar="CMD")
    chosen = parser.parse_args(arguments)
    try:
        return _dispatch(chosen, places.from_environment())
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder of ours that may not be written, a full disk
        print(
            f"error: {error.filename or 'a file'}: {error.strerror}; make it writable or free some room",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("stopped; the next `make cluster` or `make down` removes what is half made", file=sys.stderr)
        return 130


def _dispatch(chosen: argparse.Namespace, place: Place) -> int:
    match chosen.command:
        case "up":
            lifecycle.up(place)
            print(export_line(place))
        case "down":
            lifecycle.down(place, purge=chosen.purge)
        case "kubectl":
            command = [*lifecycle.kubectl(place), *chosen.arguments]
            os.execv(command[0], command)  # noqa: S606 -- the terminal and the signals are kubectl's
        case "env":
            lifecycle.kubectl(place)
            print(export_line(place))
        case "status":
            return _status(place)
        case "load":
            for archive in chosen.archives:
                loaded = images.load(lifecycle.provider_of_this_checkout(place), archive)
                print(f"{archive}: {'loaded' if loaded else 'in the node already'}")
        case "exec-node":
            command = lifecycle.provider_of_this_checkout(place).node_command(*chosen.arguments)
            return subprocess.run(command, check=False).returncode
    return 0


def _status(place: Place) -> int:
    kind, context = lifecycle.current_choice(place)
    if not kind:
        print(f"no cluster of the checkout {place.checkout}")
        return 1
    provider = lifecycle.provider_of_this_checkout(place)
    alive = lifecycle.healthy(place.kubeconfig, provider)
    print(f"{kind} {context}".strip() + (": ready" if alive else ": does not answer") + f" ({place.kubeconfig})")
    return 0 if alive else 1


def export_line(place: Place) -> str:
    return f"export KUBECONFIG={place.kubeconfig}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
