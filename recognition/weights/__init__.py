"""Weights of the descriptors and measured impostor scores; `weights.json` records each weight."""
