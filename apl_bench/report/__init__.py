"""Runs written up: one self-contained page, and figures for a paper."""
