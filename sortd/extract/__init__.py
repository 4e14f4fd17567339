"""Extract: from a video file to features."""
