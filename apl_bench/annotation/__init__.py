"""People as oracles: a queue on the disk, a page and a terminal to answer it, files to exchange, and agreement."""
