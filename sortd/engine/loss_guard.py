"""The brake on mass disappearance, as the loop holds it."""

from __future__ import annotations

from sortd.engine.event_log import Tell
from sortd.judgement.mass_loss import is_mass_loss
from sortd.store.store import Store


class LossGuard:
    """Knows whether so many videos are out of sight that nothing may follow from it: a large move, or a loss."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self.held = self.would_hold()
        self.why = ""
        """A sentence once a whole scan has shown that they are nowhere."""

    def resync(self) -> None:
        """See anew what the index says."""
        self.held = self.would_hold()

    def would_hold(self, taken: int = 0) -> bool:
        """Whether it would hold, with so many more gone."""
        vanished, stood = self._store.videos.vanished()
        return is_mass_loss(vanished + taken, stood=stood)

    def weigh(self) -> bool:
        """See anew; True when it holds from now on, and a whole scan is to tell whether they are lost."""
        was, self.held = self.held, self.would_hold()
        if self.why and not self.held:
            self.why = ""
            self._tell("videos_back")
        return self.held and not was

    def tell(self) -> None:
        """A whole scan found them nowhere: say so, once."""
        if not self.why:
            vanished, stood = self._store.videos.vanished()
            self.why = (
                f"{vanished} of {stood} videos vanished: bring them back, or accept it by `sortd resume --vanished`"
            )
            self._tell(
                "videos_vanished", count=vanished, of=stood, cure="bring them back, or `sortd resume --vanished`"
            )
