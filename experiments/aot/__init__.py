"""What XLA makes of the programs for an accelerator, on a machine that has none."""
