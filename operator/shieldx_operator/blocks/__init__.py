"""Object builders that several kinds share."""
