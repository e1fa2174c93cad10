"""``index.html`` of a report, drawn from its dataclasses alone."""
