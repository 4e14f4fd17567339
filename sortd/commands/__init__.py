"""Commands: what a person meets."""
