"""Experiment trackers, fed from events.jsonl."""
