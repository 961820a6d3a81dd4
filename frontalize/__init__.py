"""Frontalization: the face model, its fit, visibility, and the texture lifted into the UV chart."""
