"""Readers of annotated face sets as their owners distribute them; for training and for evaluation alike."""
