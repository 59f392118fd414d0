"""Model builders: one file per model type; `base` defines their interface."""
