"""Where runs are tracked: one file per tracker; `base` defines a tracker."""
