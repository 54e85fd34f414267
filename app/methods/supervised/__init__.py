"""Methods that learn from labels of the target."""
