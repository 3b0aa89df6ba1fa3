"""Where the cluster's files are: caches and the owner's record per user, the kubeconfig per checkout."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = CHECKOUT / ".state"
KUBECONFIG = STATE / "kubeconfig"
# The checkout's own choice: which kind of cluster `.state/kubeconfig` leads to.
CHOICE = STATE / "cluster.json"


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/shieldx``, or ``~/.cache/shieldx``."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named else Path.home() / ".cache") / "shieldx"
