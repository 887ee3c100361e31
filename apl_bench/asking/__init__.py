"""How oracles over a network are asked: many calls at once, within limits, each reply handed over as it comes."""
