"""From a video file to features."""
