"""What groups are called: the words that tell their videos from the others."""

from __future__ import annotations

import pytest

from sortd.judgement.group_names import VideoWords, names_for, words_of

DULL = {"the", "and"}


def said(title: str, spoken: str = "") -> VideoWords:
    return VideoWords(words_of(spoken, dull=DULL), words_of(title, dull=DULL))


def test_a_group_is_called_by_what_its_files_are_called() -> None:
    cooking = [said(f"cooking with mum {n}") for n in range(5)]
    others = [said(f"holiday with mum {n}") for n in range(5)]
    assert names_for(cooking, others) == ["cooking"]


def test_a_group_is_called_by_what_is_said_in_it() -> None:
    cooking = [said(f"IMG_{n}", "stir the onion and the garlic") for n in range(4)]
    others = [said(f"IMG_{n + 9}", "and the ball goes in") for n in range(4)]
    assert names_for(cooking, others) == ["garlic", "onion", "stir"]


def test_the_word_that_more_of_a_group_share_comes_first() -> None:
    group = [said(f"goal {'derby' if n < 4 else ''} {n}") for n in range(6)]
    assert names_for(group, [said("sea")]) == ["goal", "derby"]


def test_a_word_of_one_or_two_videos_names_no_group() -> None:
    assert names_for([said("anna"), said("anna"), said("tom"), said("eva")], []) == []
    assert names_for([said("anna"), said("anna")], []) == []


def test_a_word_that_is_about_as_common_elsewhere_tells_nothing() -> None:
    assert names_for([said("anna sea")] * 4, [said("anna city")] * 2 + [said("tom city")] * 2) == ["sea"]


def test_silent_videos_do_not_hide_what_the_others_of_a_group_say() -> None:
    group = [said("", "penalty") for _ in range(3)] + [said("") for _ in range(5)]
    assert names_for(group, [said("", "onion")] * 3) == ["penalty"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("VID_20260514-WA0003.mp4", set()),
        ("The Cats and the Dogs", {"cats", "dogs"}),
        ("Cafe\u0301 Müller", {"caf\u00e9", "müller"}),
        ("caf\udce9_noir", {"caf", "noir"}),
        ("猫の動画", {"猫の動画"}),
    ],
)
def test_words_are_what_people_would_call_words(text: str, words: set[str]) -> None:
    assert words_of(text, dull=DULL) == words
