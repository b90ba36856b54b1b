"""Open a shop that the project draws itself, with simulated shoppers, and walk through it."""
