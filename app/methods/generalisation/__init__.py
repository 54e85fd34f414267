"""Several labelled domains."""
