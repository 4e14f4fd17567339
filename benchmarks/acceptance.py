"""The real service on real videos, from outside, as their owner would meet it: one trial, and its table.

    python -m benchmarks.acceptance halves FOLDER      FOLDER holds a folder of videos for each category: half of each
                                                       is filed, the other half dropped while the service runs
    python -m benchmarks.acceptance segments VIDEO...  likewise, each video cut into twelve, a category of its own
    python -m benchmarks.acceptance odd FOLDER         all that FOLDER holds is dropped
    python -m benchmarks.acceptance latency NUMBER     from a clip's last byte to its move, so often, one after another
    python -m benchmarks.acceptance crowd NUMBER       so many clips at once
    python -m benchmarks.acceptance kills SECONDS      kill -9 every 0.3 to 2 s while 60 clips are sorted
    python -m benchmarks.acceptance undo NUMBER        so many moves in one command, and in one more all back again
    python -m benchmarks.acceptance start NUMBER       from the start to ready in a library of so many files

All is copied to a temporary folder first. Where nothing is given to copy, clips are made, those of `sortd demo`; the
last two make files that are no videos, which are moved and known like any other.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import av

from sortd.cli.demo_clips import FAMILIES, make_clip
from sortd.daemon.control_socket import ask
from tests.stories.service import Service, cpu_seconds

SEGMENTS = 12
HEIGHT = 360
SOUND_RATE = 44_100
TAUGHT = 10
LONG_SECONDS = 1200.0


# Trials


def halves(work: Path, folder: str) -> None:
    """Every other video of each category is filed, the rest dropped."""
    categories = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    sort(work, {category.name: sorted(category.iterdir()) for category in categories})


def segments(work: Path, *videos: str) -> None:
    """Each video is a category, and its segments are filed and dropped by turns."""
    categories = {}
    for video in map(Path, videos):
        (work / video.stem).mkdir()
        categories[video.stem] = cut(video, into=work / video.stem)
    sort(work, categories)


def sort(work: Path, categories: Mapping[str, Sequence[Path]]) -> None:
    """File the first, third, fifth ... of each category, drop the others while it runs; what became of each."""
    service = Service(work / "service", move={"probation": []})
    truth: dict[str, str] = {}
    for category, videos in categories.items():
        (service.root / category).mkdir()
        for video in videos[::2]:
            shutil.copy(video, service.root / category)
    before = census(service.root)
    try:
        began = time.monotonic()
        service.start()
        rest(service)
        print(f"{sum(before.values())} filed in {len(categories)} categories: taught after {since(began)}")
        for category, videos in categories.items():
            for video in videos[1::2]:
                truth[f"{category}-{video.name}"] = category
                before[video.read_bytes()] += 1
                shutil.copy(video, service.root / f"{category}-{video.name}")
        rest(service)
        print(f"{len(truth)} dropped: all done after {since(began)}")
        left = {line["path"]: line for line in service.ask("preview")}
        status = service.ask("status")
        service.stop()
    finally:
        service.end()
    moved = {line["path"]: line for line in service.told("moved")}
    print(f"features {len(service.told('extracted'))}, set aside {len(service.told('set_aside'))}")
    print(f"every file is there with its content: {census(service.root) == before}")
    print(f"classifier: {status['classifier']}\n")
    print(f"{'category':<20}{'filed':>6}{'dropped':>8}{'moved':>6}{'wrong':>6}  left for")
    for category, videos in categories.items():
        dropped = [path for path, name in truth.items() if name == category]
        gone = [moved[path]["category"] for path in dropped if path in moved]
        reasons = tally(left[path]["reason"] for path in dropped if path in left)
        wrong = len(gone) - gone.count(category)
        print(f"{category:<20}{len(videos[::2]):>6}{len(dropped):>8}{len(gone):>6}{wrong:>6}  {reasons}")
    wrong = sum(line["category"] != truth[path] for path, line in moved.items())
    print(f"{'all':<20}{'':>6}{len(truth):>8}{len(moved):>6}{wrong:>6}\n")
    for path, line in sorted([*moved.items(), *left.items()]):
        told = line.get("reason") or f"moved{'' if line['category'] == truth[path] else ' WRONGLY'}"
        print(f"{path:<44}{told:<18}{line['category'] or '':<20}{line['confidence'] or ''}")
    print(
        "\n"
        + "\n".join(f"{row['name']:<20}{row['min_confidence'] or '':<8}{row['why']}" for row in status["categories"])
    )


def odd(work: Path, folder: str) -> None:
    """Features or one reason each, and no file touched."""
    service = Service(work / "service", log={"level": "debug"})
    try:
        service.start()
        began = time.monotonic()
        for video in sorted(Path(folder).iterdir()):
            shutil.copy(video, service.root)
        before = census(service.root)
        rest(service)
        print(f"{sum(before.values())} dropped: all done after {since(began)}")
        status = service.ask("status")
        service.stop()
    finally:
        service.end()
    print(f"every file is there with its content: {census(service.root) == before}")
    extracted = {line["path"]: line for line in service.told("extracted")}
    aside = {line["path"]: line for line in status["set_aside"]}
    print(f"features {len(extracted)}, of these with sound {sum(line['speech'] for line in extracted.values())}; ")
    neither = {path.name for path in service.root.iterdir()} - {*extracted, *aside, ".sortd"}
    print(f"set aside {len(aside)}; neither {sorted(neither)}\n")
    for path, line in aside.items():
        print(f"{path:<80}{line['reason']:<18}{line['attempts']}  {line['message']}")
    slowest = sorted(extracted.values(), key=lambda line: -line["seconds"])[:5]
    print("\nslowest:\n" + "\n".join(f"{line['path']:<80}{line['seconds']:.1f} s" for line in slowest))


def latency(work: Path, number: str) -> None:
    """With the default settle_seconds; the extraction child is warm but for the first."""
    service = Service(work / "service", watch={"settle_seconds": 2.0}, move={"probation": []})
    clips = made(work, int(number) + TAUGHT * len(FAMILIES))
    try:
        teach(service, islice(clips, TAUGHT * len(FAMILIES)))
        service.start()
        rest(service)
        waited = []
        for clip in clips:
            shutil.copyfile(clip, service.root / clip.name)
            ended = time.time()
            service.await_told("moved", path=clip.name)
            waited.append(time.time() - ended)
        service.stop()
    finally:
        service.end()
    print(f"first {waited[0]:.2f} s, then median {median(waited[1:]):.2f} s, longest {max(waited[1:]):.2f} s")


def crowd(work: Path, number: str) -> None:
    """Videos a second; then what the idle daemon takes."""
    service = Service(work / "service", extract={"idle_seconds": 10.0})
    clips = list(made(work, int(number)))
    try:
        service.start()
        began = time.monotonic()
        print(f"fresh: {service.resident() / 1e6:.1f} MB")
        for clip in clips:
            shutil.copy(clip, service.root)
        service.until(lambda: len(service.told("extracted")) == len(clips), seconds=LONG_SECONDS)
        seconds = time.monotonic() - began
        print(f"{len(clips)} clips in {seconds:.1f} s, {len(clips) / seconds:.2f} videos/s")
        # The kernel adds a decoder's time to nobody's, since nobody waits for its end.
        used = service.cpu_seconds()
        print(f"CPU-s: daemon {used:.1f}, worker {sum(map(cpu_seconds, service.children())):.1f}, decoders not counted")
        print(f"busy: {service.resident() / 1e6:.1f} MB")
        service.until(lambda: not service.children())
        began, used = time.monotonic(), service.cpu_seconds()
        time.sleep(30)
        print(f"idle: {service.resident() / 1e6:.1f} MB; {service.cpu_seconds() - used:.2f} CPU-s in {since(began)}")
        service.stop()
    finally:
        service.end()


def kills(work: Path, seconds: str) -> None:
    """40 clips are filed, 20 dropped one after another; at the end nothing is lost, doubled or half done."""
    dice = random.Random(0)  # noqa: S311 - not for secrets
    service = Service(work / "service", move={"probation": []})
    clips = list(made(work, 60))
    teach(service, clips[:40])
    waiting = clips[40:]
    before = Counter(clip.read_bytes() for clip in clips)
    ends, killed = time.monotonic() + float(seconds), 0
    try:
        while time.monotonic() < ends:
            service.launch()
            time.sleep(dice.uniform(0.3, 2.0))
            if waiting and dice.random() < 1 / 2:
                clip = waiting.pop()
                shutil.copy(clip, service.root / clip.name)
            service.kill()
            killed += 1
        for clip in waiting:
            shutil.copy(clip, service.root / clip.name)
        service.start()
        rest(service)
        status, history = service.ask("status"), service.ask("history")
        service.stop()
    finally:
        service.end()
    with closing(sqlite3.connect(service.state / "index.db")) as index:
        (sound,) = index.execute("PRAGMA quick_check").fetchone()
    extracted = Counter(Path(line["path"]).name for line in service.told("extracted"))
    print(f"killed {killed} times; ready {len(service.told('ready'))} times")
    print(f"every file is there with its content: {census(service.root) == before}; quick_check {sound}")
    twice = {name for name, count in extracted.items() if count > 1}
    print(f"features told {sum(extracted.values())}, of one video more than once: {sorted(twice) or 'never'}")
    print(f"moves {tally(line['state'] for line in history)}; still to come {status['videos']['pending']}")
    print(f"{status['videos']}, set aside {status['set_aside']}, open moves {status['open_moves']}")


def undo(work: Path, number: str) -> None:
    """How long `status` waits for its answer while thousands of moves are made in one command, and taken back."""
    service = Service(work / "service")
    try:
        service.start()
        fill(service, int(number))
        with closing(sqlite3.connect(service.state / "index.db")) as index:
            videos = {os.fsdecode(path): video for path, video in index.execute("SELECT path, fingerprint FROM files")}
        for request in ({"do": "accept", "category": "many", "videos": videos}, {"do": "undo"}):
            before = len(service.told("moved")) + len(service.told("undone"))
            waited: list[float] = []
            with ThreadPoolExecutor(1) as asker:
                began = time.monotonic()
                answer = asker.submit(ask, service.state, request)
                while len(service.told("moved")) + len(service.told("undone")) < before + int(number):
                    asked = time.monotonic()
                    ask(service.state, {"do": "status"})
                    waited.append(time.monotonic() - asked)
                    time.sleep(0.05)
                ended = time.monotonic()
                told = answer.result() or {}
            under_way = len(told.get("copying", ()))
            print(
                f"{request['do']}: {number} moves in {ended - began:.1f} s, answered with {under_way} still under way;"
                f" status asked {len(waited)} times, longest {max(waited):.2f} s, median {median(waited):.3f} s"
            )
        service.stop()
    finally:
        service.end()


def start(work: Path, number: str) -> None:
    """The second start of a service that knows all the files, and what it takes when it is idle."""
    service = Service(work / "service")
    try:
        service.start()
        fill(service, int(number))
        service.stop()
        seconds = []
        for _ in range(5):
            began = time.monotonic()
            service.start()
            seconds.append(time.monotonic() - began)
            rest(service)
            resident = service.resident()
            service.stop()
    finally:
        service.end()
    print(f"{number} files: ready after {median(seconds):.2f} s, of five; idle {resident / 1e6:.1f} MB")


def fill(service: Service, number: int) -> None:
    """Drop files that are no videos, and wait until each is known as that."""
    for one in range(number):
        (service.root / f"{one}.mp4").write_bytes(b"no video %d" % one)
    service.until(lambda: len(service.told("set_aside")) == number, seconds=LONG_SECONDS)


TRIALS = {trial.__name__: trial for trial in (halves, segments, odd, latency, crowd, kills, undo, start)}


# What the owner does


def made(work: Path, number: int) -> Iterable[Path]:
    """Clips of the families by turns, each made when it is asked for."""
    (work / "clips").mkdir()
    for count in range(number):
        turn, family = divmod(count, len(FAMILIES))
        path = work / "clips" / f"{list(FAMILIES)[family]}-{turn}.mp4"
        make_clip(path, list(FAMILIES)[family], turn, seconds=1.0)
        yield path


def teach(service: Service, clips: Iterable[Path]) -> None:
    """File clips into the folders of their families."""
    for clip in clips:
        folder = service.root / clip.name.partition("-")[0]
        folder.mkdir(exist_ok=True)
        shutil.copy(clip, folder)


def cut(video: Path, *, into: Path) -> list[Path]:
    """Equal segments of a video, picture and sound encoded anew."""
    paths = [into / f"{number:02}.mp4" for number in range(SEGMENTS)]
    with av.open(video) as source:
        length = (source.duration or 0) / av.time_base
    for number, path in enumerate(paths):
        copy_between(length * number / SEGMENTS, length * (number + 1) / SEGMENTS, video, path)
    return paths


def copy_between(first: float, last: float, video: Path, path: Path) -> None:
    """Encode a part of a video anew; `first` and `last` in seconds."""
    with av.open(video) as source, av.open(path, "w") as target:
        pictures, sounds = source.streams.video[0], source.streams.audio[:1]
        rate, height = round(pictures.average_rate or 25), min(HEIGHT, pictures.height)
        seen = target.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        seen.width, seen.height, seen.pix_fmt = (
            round(pictures.width * height / pictures.height / 2) * 2,
            height,
            "yuv420p",
        )
        heard = [target.add_stream("aac", rate=SOUND_RATE, layout="mono") for _ in sounds]
        resampler = av.AudioResampler("fltp", "mono", SOUND_RATE)
        shown, played = 0, 0
        with suppress(av.FFmpegError):  # some begin at no key frame: these are read from their beginning
            source.seek(int(first * av.time_base))
        for frame in source.decode(pictures, *sounds):
            if not first <= (frame.time or 0.0) < last:
                continue
            if isinstance(frame, av.VideoFrame):
                picture = frame.reformat(seen.width, seen.height, "yuv420p")
                picture.pts, picture.time_base, picture.pict_type = shown, Fraction(1, rate), 0
                target.mux(seen.encode(picture))
                shown += 1
                continue
            for sound in resampler.resample(frame):
                sound.pts, sound.time_base = played, Fraction(1, SOUND_RATE)
                target.mux(heard[0].encode(sound))
                played += sound.samples
        for stream in (seen, *heard):
            target.mux(stream.encode())


# What is seen from outside


def rest(service: Service) -> None:
    """Wait until nothing is left to do."""

    def rests() -> bool:
        status = service.ask("status")
        return status["state"] == "idle" and not status["videos"]["pending"]

    deadline = time.monotonic() + LONG_SECONDS
    time.sleep(2)
    while not rests():
        if time.monotonic() > deadline:
            raise TimeoutError(service.lines[-20:])
        time.sleep(2)


def census(root: Path) -> Counter[bytes]:
    """What is in all the files below a folder."""
    files = (path for path in root.rglob("*") if path.is_file() and ".sortd" not in path.parts)
    return Counter(path.read_bytes() for path in files)


def tally(things: Iterable[Any]) -> str:
    """How many of each."""
    return ", ".join(f"{thing} {count}" for thing, count in Counter(things).most_common()) or "none"


def since(began: float) -> str:
    """Give the time since a moment of the monotonic clock."""
    return f"{time.monotonic() - began:.1f} s"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sortd-") as temporary:
        TRIALS[sys.argv[1]](Path(temporary), *sys.argv[2:])
