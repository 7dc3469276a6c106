"""Training. The module can be called: `seg_jax.train(config, workdir, ...)` is `library.train`."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """`seg_jax.train` is a function for people and a folder of modules for the import system: one name, one object."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from seg_jax.train.library import train

        return train(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
