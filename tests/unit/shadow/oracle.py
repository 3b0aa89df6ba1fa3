"""The confusion matrix by the plainest means: loops, written against the definitions, sharing no code with the engine.

Regular expressions are Python's own; the ones used in tests mean the same in both dialects.
"""

import ipaddress
import itertools
import math
import re
from collections import defaultdict
from datetime import datetime
from typing import Any

import libinjection

Rule = dict[str, Any]
Row = dict[str, Any]


def matches(rule: Rule, rows: list[Row], train: set[int]) -> list[bool]:  # noqa: C901, PLR0911 - one case a type
    """For each row whether the rule matches it. `train` are the places of rows that a model learns from."""
    kind = rule["type"]
    if kind == "signature":
        if rule.get("syntax") == "regex":
            return [re.search(rule["pattern"], row["payload"]) is not None for row in rows]
        return [rule["pattern"] in row["payload"] for row in rows]
    if kind == "ip_blacklist":
        networks = [ipaddress.ip_network(text) for text in rule["networks"]]
        return [any(ipaddress.ip_address(row["client_ip"]) in network for network in networks) for row in rows]
    if kind == "rate_limiting":
        return _too_many(rule["requests"], rule["windowSeconds"], rows)
    if kind == "anomaly_detection":
        return [score >= rule["threshold"] for score in _scores(rows, train)]
    if kind == "libinjection":
        found = [False] * len(rows)
        for place, row in enumerate(rows):
            if "sqli" in rule["injections"] and libinjection.is_sql_injection(row["payload"])["is_sqli"]:
                found[place] = True
            if "xss" in rule["injections"] and libinjection.is_xss(row["payload"])["is_xss"]:
                found[place] = True
        return found
    if kind == "not":
        return [not answer for answer in matches(rule["rule"], rows, train)]
    answers = [matches(part, rows, train) for part in rule["rules"]]
    together = all if kind == "all_of" else any
    return [together(answer[place] for answer in answers) for place in range(len(rows))]


def _too_many(requests: int, window_s: int, rows: list[Row]) -> list[bool]:
    seen: defaultdict[str, list[float]] = defaultdict(list)
    found = []
    for row in rows:
        now_s = datetime.fromisoformat(row["timestamp"]).timestamp()
        seen[row["client_ip"]].append(now_s)
        found.append(sum(1 for then_s in seen[row["client_ip"]] if now_s - window_s < then_s <= now_s) > requests)
    return found


def _scores(rows: list[Row], train: set[int]) -> list[float]:
    pairs: defaultdict[tuple[int, int], int] = defaultdict(int)
    befores: defaultdict[int, int] = defaultdict(int)
    for place in train:
        if rows[place]["label"] == "benign":
            text = b" " + rows[place]["payload"].encode()
            for before, after in itertools.pairwise(text):
                pairs[before, after] += 1
                befores[before] += 1
    scores = []
    for row in rows:
        text = b" " + row["payload"].encode()
        bits = 0.0
        for before, after in itertools.pairwise(text):
            bits += math.log2(befores[before] + 256) - math.log2(pairs[before, after] + 1)
        scores.append(bits / (len(text) - 1) if len(text) > 1 else 0.0)
    return scores


def matrix(rule: Rule, rows: list[Row], train: set[int]) -> tuple[int, int, int, int]:
    """TP, FP, TN, FN over the rows that nothing was trained on."""
    answers = matches(rule, rows, train)
    cells = {(True, True): 0, (False, True): 0, (False, False): 0, (True, False): 0}
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if place not in train:
            cells[row["label"] == "attack", answer] += 1
    return cells[True, True], cells[False, True], cells[False, False], cells[True, False]
