"""sortd sorts a person's video collection by watching how they do it."""
