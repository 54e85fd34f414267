"""Labelled source, unlabelled target."""
