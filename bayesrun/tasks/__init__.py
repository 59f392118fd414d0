"""What a command can do beside running a model: one file per task; `base` says what a task is."""
