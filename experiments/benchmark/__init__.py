"""How fast is it, against what one could use instead? `python -m experiments.benchmark`."""
