"""Classical heads on cached features."""
