"""The pretrained networks, and their files."""
