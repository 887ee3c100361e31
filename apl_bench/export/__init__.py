"""What was bought and what came of it, in formats that others read."""
