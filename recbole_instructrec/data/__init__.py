"""Atomic files to training and evaluation rows. Nothing here imports the model."""
