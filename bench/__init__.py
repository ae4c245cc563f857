"""Load tests and side-by-side comparisons. They know the public API only."""
