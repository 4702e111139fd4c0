"""The server's database engine, without what is done again for each test and without waiting for the disk."""

from sqlalchemy import create_engine, event

# The keys of compiled statements contain the dialect: with one of its own, each engine compiles them again.
DIALECT = create_engine("sqlite://").dialect
STATEMENTS = {}


def quick_engine(*words, **more):
    """Stands where sqlalchemy.create_engine stands."""
    engine = create_engine(*words, **more)
    engine.dialect = DIALECT
    engine.update_execution_options(compiled_cache=STATEMENTS)
    # What conftest.py does to os.fsync; not on connecting, because the server then sets its own.
    event.listen(engine, "checkout", lambda connection, *_: connection.execute("PRAGMA synchronous=OFF"))
    return engine
