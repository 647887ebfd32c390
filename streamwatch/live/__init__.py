"""Watching: live streams until they are stopped, over the actors of a cluster."""

import streamwatch.cluster  # noqa: F401  sets what Ray reads from the environment while it is imported
