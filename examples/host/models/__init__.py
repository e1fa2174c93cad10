"""Models by name: ``--model foo_bar`` is the class ``FooBarModel`` in ``models/foo_bar_model.py``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from models.base_model import BaseModel
from util.util import find_class, process_rank


def find_model_using_name(model_name: str) -> type[BaseModel]:
    """Import ``models/<model_name>_model.py`` and return its model class."""
    return find_class("models", "model", model_name, BaseModel, "--model")


def get_option_setter(model_name: str) -> Callable[[ArgumentParser, bool], ArgumentParser]:
    """Return the function that adds the options of a model."""
    return find_model_using_name(model_name).modify_commandline_options


def create_model(opt: Namespace) -> BaseModel:
    """Create the model given by ``opt.model``."""
    model = find_model_using_name(opt.model)(opt)
    if process_rank() == 0:
        print(f"model {type(model).__name__} created")
    return model
