"""Few labels and many images."""
