"""Store results by content, so that an interrupted report continues without computing them again."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import KDError

NAME = "results.db"


def key_of(*parts: object) -> str:
    """Return the key of a result: a digest of everything it depends on."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


class Store:
    """Arrays by key in a file, in SQLite, which keeps every committed result if the process is killed.

    Args:
        file: the file, created with its folder when it is used: a report that fails before leaves nothing.

    Raises:
        KDError: In every method, if the file is not such a store, or cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._opened: sqlite3.Connection | None = None

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._opened = sqlite3.connect(self._file)
                self._opened.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
                self._opened.commit()
            except (sqlite3.Error, OSError) as error:
                raise KDError(
                    f"{self._file}: cannot store results ({error}); remove the file to compute them again"
                ) from error
        return self._opened

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    def get(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the stored arrays among the keys."""
        found = {}
        for key in keys:
            row = self._connection.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = np.load(io.BytesIO(row[0]), allow_pickle=False)
        return found

    def put(self, values: Mapping[str, np.ndarray]) -> None:
        """Store arrays, all or none."""
        rows = []
        for key, value in values.items():
            file = io.BytesIO()
            np.save(file, value, allow_pickle=False)
            rows.append((key, file.getvalue()))
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise KDError(f"{self._file}: cannot store results ({error})") from error
