"""All finders of strong tickets and all baselines, side by side."""
