from seg_jax.predict.predictor import Predictor as Predictor
from seg_jax.run.model import create_model as create_model
from seg_jax.runtime.errors import SegJaxError as SegJaxError
from seg_jax.runtime.version import __version__ as __version__
from seg_jax.train.library import train as train
