"""Measures the figures of the product against floors on bare asyncpg, side by side in one run."""
