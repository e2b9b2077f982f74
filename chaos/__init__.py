"""Breaks the product on purpose, on a database of its own, and checks that what it promises holds."""
