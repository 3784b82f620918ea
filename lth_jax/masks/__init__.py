"""Which weights stay: exact selection, its threshold search, the straight-through gradient."""
