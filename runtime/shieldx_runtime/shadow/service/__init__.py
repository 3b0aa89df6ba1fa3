"""The HTTP API of shadow evaluation: traffic of tenants comes in, rules are judged on it, answers are kept."""
