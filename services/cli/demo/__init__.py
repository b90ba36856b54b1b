"""The demo: a shop that the project draws itself, shoppers with tastes, and a walk-through."""
