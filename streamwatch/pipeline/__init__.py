"""The stages joined, in plain Python: one file or stream from its frames to its verdict, without Ray."""
