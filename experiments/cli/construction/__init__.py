"""What the study of constructions consists of: its flags, its objects, its table."""
