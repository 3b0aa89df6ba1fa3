"""Shadow evaluation: how a detection rule does on labelled traffic, counted so that another person gets the same."""
