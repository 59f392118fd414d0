"""Jobs of one command: by which launcher, on which machine, and what becomes of those that are lost."""
