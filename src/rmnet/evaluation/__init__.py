"""Whole data sets: track every clip, score it, record it, and go on where a run stopped."""
