"""Does it hold and how fast is it on a GPU or TPU? `--only='accelerator/*'` of the benchmark."""
