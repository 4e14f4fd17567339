"""The owner's settings and what the whole process shares: the log, times, Python itself."""
