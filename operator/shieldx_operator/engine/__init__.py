"""Watch, queue, observe, apply, report: the I/O of the operator. Knows no kind."""
