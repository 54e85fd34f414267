"""Rules, features, structure."""
