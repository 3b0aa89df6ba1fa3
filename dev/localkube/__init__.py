"""A container engine and a kind node image made on this machine, for machines that have neither engine nor registry.

Only ``dev.cluster`` imports this package. README.md beside this file holds the facts and the limits.
"""
