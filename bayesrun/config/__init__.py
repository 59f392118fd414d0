"""From YAML and the command line to one checked, frozen config: composition, defaults, the gate, parsing."""
