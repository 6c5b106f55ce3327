"""Prose by a model, in regions of documents that ask for it and nowhere else."""
