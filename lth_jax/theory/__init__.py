"""The paper's theory as programs: ε-perturbed subset sums, and the network of theorem 2."""
