"""`python -m seg_jax.compare`: trains and evaluates what differs in chosen fields, then compares the runs."""
