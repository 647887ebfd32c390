"""Labelled data sets as they lie on disk after their official download: `catalogue.list_clips` reads them all.

One module per layout. Each gives `Clip`s with one polarity (fake = True) and the official split.
"""
