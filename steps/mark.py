"""Mark the installation complete: the last write of an installation."""

from __future__ import annotations

from dataclasses import replace

from host.mark import Mark, NotInstalled, read_mark, write_mark
from host.target import target
from host.texts import _
from images.trust import SignedImages
from steps.base import Change, Context, Effect, Facts, Keeps, Observation, Step, holds, lacks
from wire.messages import NodeDetails


class MarkComplete(Step):
    """The disk says itself that this run's installation is complete."""

    name = "mark"
    title = "Mark the installation complete"
    effect = Effect.CHANGES
    needs = (NodeDetails,)
    gives = (Mark,)

    def observe(self, context: Context) -> Observation:
        wanted = _mark(context.facts)
        try:
            found = read_mark(context.host.run)
        except NotInstalled:
            found = None
        # A later time says nothing new of an installation that is complete.
        if found is not None and replace(found, newest=wanted.newest) == wanted:
            return holds(wanted)
        return lacks(Change(Keeps.CREATE, _("root volume"), _("mark of run {run}", run=wanted.run_id)))

    def run(self, context: Context) -> None:
        with target(context.host.run) as root:
            write_mark(root, _mark(context.facts))


def _mark(facts: Facts) -> Mark:
    details, signed = facts[NodeDetails], facts.get(SignedImages)
    images = (details.base_image, *details.images)
    newest = signed.newest if signed is not None else 0
    return Mark(details.run_id, details.node_id, images, details.kernel_arguments, details.generation, newest)
