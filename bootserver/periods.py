"""For how long what is signed is good: settings of the deployment."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy.orm import Session

from bootserver.tables import Setting

DAY = 86400


@dataclass(frozen=True)
class Periods:
    """Days for which the roles' metadata are good, and for which nodes may install without the server."""

    root: int = 365
    targets: int = 90
    snapshot: int = 14
    timestamp: int = 2
    offline: int = 30

    @classmethod
    def of(cls, session: Session) -> Periods:
        """Return those of the deployment."""
        set_ones = {field.name: session.get(Setting, f"days.{field.name}") for field in fields(cls)}
        return cls(**{name: int(setting.value) for name, setting in set_ones.items() if setting})

    def store(self, session: Session) -> None:
        """Make these the deployment's."""
        for field in fields(self):
            session.merge(Setting(key=f"days.{field.name}", value=str(getattr(self, field.name))))
