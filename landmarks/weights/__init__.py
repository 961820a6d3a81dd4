"""Weights of the landmark stage; `weights.json` records each."""
