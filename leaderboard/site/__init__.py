"""The leaderboard's site: rows of submissions, what separates them, and the pages and tables that say so."""
