"""A checkpoint and unlabelled images."""
