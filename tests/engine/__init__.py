"""Tests of the engine, on tiny models with random weights."""
