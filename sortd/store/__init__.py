"""Store: what is remembered."""
