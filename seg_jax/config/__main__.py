"""python -m seg_jax.config: prints the page of all fields."""

from seg_jax.config.page import page

if __name__ == "__main__":
    print(page(), end="")
