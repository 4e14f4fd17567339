"""What sortd remembers, in SQLite."""
