"""Open the journal: on the dongle where there is one, so that it outlives this boot."""

from __future__ import annotations

from host.journal import Journal
from images.cache import Cache
from steps.base import Context, Effect, Observation, Step, holds

FILE_NAME = "journal.jsonl"


class OpenJournal(Step):
    """It is known where the journal is."""

    name = "open_journal"
    title = "Open the journal"
    effect = Effect.READS
    needs = (Cache,)
    gives = (Journal,)

    def observe(self, context: Context) -> Observation:
        cache = context.facts[Cache]
        folder = cache.folder if cache.folder is not None and cache.stores else context.host.state_dir
        return holds(Journal(folder / FILE_NAME))
