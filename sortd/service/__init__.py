"""Service: the one loop and its children."""
