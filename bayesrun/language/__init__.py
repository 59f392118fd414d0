"""The language of YAML configs: the distributions that it may name and the expressions that it may compute."""
