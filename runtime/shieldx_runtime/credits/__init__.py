"""The prepaid ledger and its HTTP API."""
