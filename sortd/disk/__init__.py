"""What sortd does with files and folders."""
