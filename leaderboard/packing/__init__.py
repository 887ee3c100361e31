"""Run directories in few bytes, and back to the byte: what a submission's runs/ holds."""
