"""Parts of the planted study: its flags, tasks, rows, table and picture."""
