"""How far a judge can be trusted: what its recorded or repeated verdicts say of it."""
