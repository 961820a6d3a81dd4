"""Evaluation: protocols, recognition and landmark figures with intervals, reports. Failures count as misses."""
