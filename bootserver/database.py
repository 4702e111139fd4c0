"""The database: opened once a program, used in short transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from bootserver.tables import SCHEMA, Base, Setting
from wire.errors import ConfigurationError, TransientError

# Command line and server write side by side; transactions are short, so this is ample.
BUSY_SECONDS = 10


class WrongSchema(ConfigurationError):
    """The database was made by another version of the program."""

    code = "wrong-schema"
    title = "The server's database has another format"
    hint = "Run the version of bootserver that made it; nothing was changed. docs/server.md, Another version."


class DatabaseUnusable(TransientError):
    """The database could not be read or written now."""

    code = "database-unusable"
    title = "The server's database cannot be used"
    hint = "Check that the folder is writable, the disk not full, and no backup holds a lock."


class Database:
    """Sessions over one engine. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = sessionmaker(engine)
        # The lock is taken at the beginning: a transaction that reads first and writes later could
        # otherwise find that another writer was faster, and fail instead of waiting.
        self._writing = sessionmaker(engine.execution_options(immediate=True))

    @classmethod
    def at(cls, path: Path) -> Database:
        """Return the SQLite database in the file `path`."""
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return cls(engine)

    def create(self) -> None:
        """Make the tables."""
        with self.write() as session:
            Base.metadata.create_all(session.connection())
            session.merge(Setting(key="schema", value=str(SCHEMA)))

    def check(self) -> None:
        """Raise WrongSchema, DatabaseUnusable."""
        with self.read() as session:
            found = session.get(Setting, "schema")
            if found is None or found.value != str(SCHEMA):
                raise WrongSchema(f"format {found.value if found else 'unknown'}, {SCHEMA} wanted")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session for reading; changes are thrown away. Raises DatabaseUnusable."""
        with _translated(), self._reading() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are committed at the end, or not at all. Raises DatabaseUnusable."""
        with _translated(), self._writing.begin() as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        # Among the subclasses, only this one is about the file and not about a fault in the program.
        if type(error) not in (DatabaseError, OperationalError):
            raise
        raise DatabaseUnusable(str(error.orig)) from None


def _prepare(connection: Any, _: Any) -> None:
    # SQLAlchemy shall say when a transaction begins (see _begin), not the driver.
    connection.isolation_level = None
    cursor = connection.cursor()
    for statement in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {statement}")
    cursor.close()


def _begin(connection: Any) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.execute(text("BEGIN IMMEDIATE" if immediate else "BEGIN"))
