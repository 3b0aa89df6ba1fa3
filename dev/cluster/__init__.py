"""The one door to a Kubernetes cluster: ``python3 -m dev.cluster up|down|kubectl|env|load|exec-node|status``.

Standard library only, so that it runs before anything of the project is installed.
"""
