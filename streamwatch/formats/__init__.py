"""What leaves the store: JSON Lines, tables, timelines."""
