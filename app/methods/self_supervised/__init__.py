"""No labels at all."""
