"""A cheap detector: statistics of a wide crop, a linear model and trees over them. Needs no torch."""
