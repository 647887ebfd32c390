"""Runs the stages: in one process (`analysis`), or as Ray actors over many files (`archive`) and streams
(`live`).

Only `cluster`, `detector`, `worker`, `writer`, `archive` and `live` know Ray, and nothing is imported here.
"""
