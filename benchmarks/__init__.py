"""Performance claims, measured: each benchmark prints its figures beside their limits."""
