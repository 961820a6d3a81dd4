"""The weights of the 3-D stage and their records (`weights.json`)."""
