"""Frontalization: the face model, its fit, what the camera saw, and the texture lifted into the UV chart."""
