"""Settings of a training run: the record, what its values may be, named recipes, and how all of it is read."""

from trimtab.train.settings.read import read_settings
from trimtab.train.settings.recipes import GUANACO, RECIPES
from trimtab.train.settings.record import TrainSettings

__all__ = ["GUANACO", "RECIPES", "TrainSettings", "read_settings"]
