"""Student generators: what they are built from, where their weights come from, what they cost."""

from .budget import parse_budget, student_within
from .builders import StudentRequest, build_student, factory_of, is_registered, register, student_spec
from .inherit import Keep, inherit_weights
from .record import RECORD_NAME, StudentRecord, describe

__all__ = [
    "RECORD_NAME",
    "Keep",
    "StudentRecord",
    "StudentRequest",
    "build_student",
    "describe",
    "factory_of",
    "inherit_weights",
    "is_registered",
    "parse_budget",
    "register",
    "student_spec",
    "student_within",
]
