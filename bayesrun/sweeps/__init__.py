"""Many runs as one: preflight, resumption and the sweep's answer."""
