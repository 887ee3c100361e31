"""What the paper reports, and which of its differences hold up."""
