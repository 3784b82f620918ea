"""Strong lottery tickets with ε-perturbation (Xiong, Liao, Kyrillidis 2023, arXiv 2210.16589) in JAX."""
