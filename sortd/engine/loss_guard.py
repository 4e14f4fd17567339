"""Hold everything when too many videos vanish at once, until a scan or the owner says what became of them."""

from __future__ import annotations

from sortd.engine.event_log import Tell
from sortd.judgement.mass_loss import is_mass_loss
from sortd.store.store import Store


class LossGuard:
    """Knows whether so many videos are missing that it may be a large move or a loss: nothing may follow from it."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self.held = self.would_hold()
        self.why = ""
        """One sentence, once a whole scan has found them nowhere."""

    def resync(self) -> None:
        """Read anew from the index whether everything is to be held."""
        self.held = self.would_hold()

    def would_hold(self, taken: int = 0) -> bool:
        """Tell whether everything would be held if so many more videos were gone."""
        vanished, stood = self._store.videos.vanished()
        return is_mass_loss(vanished + taken, stood=stood)

    def weigh(self) -> bool:
        """Look anew; return True when holding begins, and a whole scan is to tell whether the videos are lost."""
        was, self.held = self.held, self.would_hold()
        if self.why and not self.held:
            self.why = ""
            self._tell("videos_back")
        return self.held and not was

    def tell(self) -> None:
        """Tell once that a whole scan found the videos nowhere."""
        if not self.why:
            vanished, stood = self._store.videos.vanished()
            self.why = (
                f"{vanished} of {stood} videos vanished: bring them back, or accept it by `sortd resume --vanished`"
            )
            self._tell(
                "videos_vanished", count=vanished, of=stood, cure="bring them back, or `sortd resume --vanished`"
            )
