"""Student generators: the record of what was built."""

from .record import RECORD_NAME, StudentRecord, describe

__all__ = ["RECORD_NAME", "StudentRecord", "describe"]
