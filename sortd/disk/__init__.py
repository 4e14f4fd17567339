"""Disk: what is touched."""
