"""What runs will cost and what they can show, before anything is asked.

units.py      what a run asks at once, and which runs ask the same
standing.py   what is recorded already: in the runs' folder, and of that in the ledger
counting.py   from the two: how many answers each part still needs, known exactly or at most
texts.py      pairs as the task's real prompts make them, to measure a call by
calls.py      tokens, price and latency of a call, each with its source
design.py     the smallest difference that seeds and test prompts can show
plan.py       all of it for one command line
"""
