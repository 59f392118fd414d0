"""Whether a posterior may be believed: one file a check; `base` says what a check is."""
