"""Confined processes that decode strangers' files."""
