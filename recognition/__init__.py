"""Signatures, galleries and decisions."""
