"""Student generators: building them, inheriting weights, budgets, plans and records."""

from ..metrics.limits import parse_budget
from ..networks.architecture import (
    INPUT,
    OUTPUT,
    Architecture,
    Generator,
    GeneratorSpec,
    Layer,
    TapPoint,
    register_architecture,
)
from ..networks.layers import read_shape
from .budget import student_within
from .builders import StudentRequest, build_student, factory_of, is_registered, register, student_spec
from .inherit import Keep, inherit_weights
from .record import RECORD_NAME, StudentRecord, describe

__all__ = [
    "INPUT",
    "OUTPUT",
    "RECORD_NAME",
    "Architecture",
    "Generator",
    "GeneratorSpec",
    "Keep",
    "Layer",
    "StudentRecord",
    "StudentRequest",
    "TapPoint",
    "build_student",
    "describe",
    "factory_of",
    "inherit_weights",
    "is_registered",
    "parse_budget",
    "read_shape",
    "register",
    "register_architecture",
    "student_spec",
    "student_within",
]
