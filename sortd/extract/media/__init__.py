"""From an open video file to pictures and sound."""
