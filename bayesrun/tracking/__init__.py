"""Where runs are tracked: one file a tracker; `base` says what a tracker is."""
