"""Training of the statistics detector: its recipe, pictures, fit, measurement and release."""
