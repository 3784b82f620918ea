"""What the paper published: its tables, its recipe as presets, and rows of ours beside them."""
