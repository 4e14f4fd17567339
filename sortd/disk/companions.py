"""Tell by name which files beside a video travel with it: players, downloaders and recorders write them.

A companion's name is the video's stem, or its whole name, then a tail: `clip.mp4` has `clip.en.forced.srt`,
`clip-poster.jpg`, `clip.mp4.json`. The tail is read by a bounded grammar, so that no other video's file is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

_SUBTITLES = "srt vtt ass ssa sub idx sup smi sami ttml dfxp lrc srv1 srv2 srv3 json3 sbv usf"
_FACTS = "nfo json description xmp txt edl url webloc desktop"
_PICTURES = "jpg jpeg png webp"
_RECORDERS = "thm lrv lrf eit aae"  # GoPro, Canon, DJI: previews; Enigma2: what was on; iPhone: edits
_WHOLE_FILES = "meta ap sc cuts sts vsmeta"  # after the whole name, "film.ts.meta": Enigma2, Synology Video Station
_ARTWORK = "thumb poster fanart banner landscape logo clearlogo clearart disc discart keyart backdrop cover"

_ENGLISH = (
    "afrikaans albanian amharic arabic armenian azerbaijani basque belarusian bengali bosnian brazilian bulgarian"
    " burmese cantonese catalan chinese croatian czech danish dutch english estonian farsi filipino finnish french"
    " galician georgian german greek gujarati hebrew hindi hungarian icelandic indonesian irish italian japanese"
    " kannada kazakh khmer korean kurdish kyrgyz lao latin latvian lithuanian macedonian malay malayalam maltese"
    " mandarin marathi mongolian nepali norwegian pashto persian polish portuguese punjabi romanian russian serbian"
    " sinhala slovak slovenian somali spanish swahili swedish tagalog tamil telugu thai tibetan turkish ukrainian"
    " urdu uzbek vietnamese welsh yiddish zulu"
)
_WORDS = (
    "auto cc closedcaptions commentary default dialogue dub dubbed forced foreign full hearing-impaired hi lyrics"
    " non-forced normal orig original sdh signs signs-songs simplified songs traditional"
)


def _one_of(words: str) -> str:
    return "|".join(map(re.escape, words.split()))


# ISO 639 with script, region, variant or the track's own name as yt-dlp writes it: en, zh-Hans, es-419, en-eEY6OEpapPo.
_LANGUAGE = r"[a-z]{2,3}(?:[-_][a-z0-9_-]{1,24})?"
_PART = rf"\.(?:\d{{1,3}}|{_LANGUAGE}|{_one_of(_WORDS)}|{_one_of(_ENGLISH)})"
_ENDING = rf"\.(?:{_one_of(f'{_SUBTITLES} {_FACTS} {_PICTURES} {_RECORDERS}')})"
_TAIL = re.compile(
    rf"(?:{_PART}){{0,4}}{_ENDING}"
    r"|\.(?:info|live_chat|annotations|chapters)\.(?:json|xml)"  # yt-dlp
    r"|\.info\.json\.gz"
    rf"|-(?:{_one_of(_ARTWORK)})\d?\.(?:{_one_of(_PICTURES)})"  # Kodi, Jellyfin, Plex, Emby
    r"|(?:-\d{2,4}-\d{1,3})?\.bif"  # Emby, Jellyfin, Roku: pictures to seek by
    r"|m\d\d\.xml",  # Sony: C0001M01.XML of C0001.MP4
    re.IGNORECASE | re.ASCII,
)
_WHOLE_TAIL = re.compile(
    # Google Takeout cuts ".supplemental-metadata.json" short where the name gets too long.
    rf"\.(?:{_one_of(_WHOLE_FILES)})|\.s[a-z-]{{2,20}}\.json",
    re.IGNORECASE | re.ASCII,
)
_ENDINGS = tuple(f".{word}" for word in f"{_SUBTITLES} {_FACTS} {_PICTURES} thm bif {_WHOLE_FILES} xml".split())


def may_be_companion(name: str) -> bool:
    """Tell whether a file of this name is more likely a companion than a video."""
    return name.lower().endswith(_ENDINGS)


def companions_of(video: str, videos: Collection[str], others: Collection[str]) -> list[str]:
    """Which of the `others`, plain files in the folder of the `videos`, travel with one of these, by name.

    What two videos of one stem share stays; what has the whole name of one is that one's. `clip.two.srt` is
    `clip.two.mp4`'s where there is such a video, and otherwise `clip.mp4`'s, for "two" may be a language.
    """
    stem = _stem(video)
    stems = [_stem(name) for name in videos]
    bases = {*stems, *videos}
    shared = stems.count(stem) > 1
    return sorted(
        name
        for name in others
        if name.startswith(stem) and (base := _base(name, bases)) in {stem, video} and not (shared and base == stem)
    )


def _base(name: str, bases: Collection[str]) -> str | None:
    """The longest of the stems and names of which this may be a companion."""
    for end in range(len(name) - 1, 0, -1):
        if name[:end] in bases and _is_tail(name[end:], whole=name[:end]):
            return name[:end]
    return None


def _is_tail(tail: str, *, whole: str) -> bool:
    return bool(_TAIL.fullmatch(tail) or ("." in whole and _WHOLE_TAIL.fullmatch(tail)))


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122  (a name, no path)
