"""The encoder changes while the service goes on: pretrained weights came, or went."""

from __future__ import annotations

from sortd.domain.feature import FeatureSpace, SpacePart
from tests.stories.conftest import taught

OTHER = FeatureSpace((SpacePart("visual", "other-1", 64), SpacePart("speech", "other-1", 64)))


def test_everything_is_embedded_again_and_the_classifier_changes_over_without_a_gap(household):
    home = household(taught())
    old = home.store.space
    home.extracted.clear()
    held_back = home.hold_extraction()
    home.engine.want(OTHER)
    home.tell(None)
    assert home.engine.decision_inputs.classifier.space == old
    held_back()
    home.settle()
    assert sorted(home.extracted) == sorted(content for folder in taught().values() for content in folder.values())
    assert home.engine.decision_inputs.classifier.space == OTHER
    home.files({"new.mp4": b"cats 100"})
    assert "new.mp4" in home.tree["cats"]


def test_what_is_dropped_meanwhile_is_decided_by_the_old_classifier(household):
    home = household(taught())
    home.files({"later.mp4": b"weddings 1"})
    (home.root / "new.mp4").write_bytes(b"cats 100")
    home.engine.want(OTHER)
    home.train = [].append
    home.settle()
    assert "new.mp4" in home.tree["cats"]
    parts = home.store.space.parts
    sighting = home.store.videos.known(home.path("later.mp4"))
    assert all(home.store.features.has(sighting.fingerprint, part) for part in parts)


def test_after_a_restart_in_the_middle_the_old_one_still_decides_until_the_new_one_is_there(household):
    home = household(taught())
    home.kill()
    home.space = OTHER
    home.start()
    held_back = home.hold_extraction()
    home.tell(None)
    assert home.engine.decision_inputs.classifier.space != OTHER
    held_back()
    home.settle()
    assert home.engine.decision_inputs.classifier.space == OTHER
    assert home.events("retrain_due")[-1]["why"] == "the encoder changed"


def test_vectors_of_an_encoder_given_up_long_ago_are_forgotten(household):
    home = household(taught(2))
    old = home.store.space
    home.engine.want(OTHER)
    home.settle()
    (clip, *_) = home.store.videos.fingerprints(home="cats")
    home.clock.now += 91 * 86_400
    assert home.store.features.of(clip, old)
    home.settle()
    assert not home.store.features.of(clip, old)
    assert home.store.features.of(clip, OTHER)
