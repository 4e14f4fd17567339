"""From features to the numbers that decisions need."""
