"""The name server: who serves a name now, who stands by, and how that is asked."""
