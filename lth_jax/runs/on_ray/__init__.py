"""The engine `ray`: jobs on the workers of a Ray cluster. Only who asks for it imports Ray."""
