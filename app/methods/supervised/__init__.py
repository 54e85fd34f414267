"""From labels of the target."""
