"""What a command can do besides running a model: one file per task; `base` defines a task."""
