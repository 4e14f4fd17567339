"""Learn: from features to the numbers that decisions need."""
