"""Bugs that are planted on purpose, one at a time, to see that the tests catch each: who checks the checkers (R12)."""
