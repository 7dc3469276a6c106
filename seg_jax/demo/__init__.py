"""A page in the browser for trained networks; `python -m seg_jax.demo` starts it."""
