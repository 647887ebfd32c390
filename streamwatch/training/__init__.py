"""Training: prepared pictures, self-blended forgeries, losses, the trainer and its recipes."""
