"""The command line: its entry point and its help."""
