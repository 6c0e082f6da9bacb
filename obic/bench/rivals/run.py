"""Carries out a plan, in parallel over pictures; every measurement is appended to a file of JSON
lines at once."""

from __future__ import annotations

import hashlib
import json
import lzma
import multiprocessing
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from obic import codec
from obic.bench.common.coders import RIVALS, Coder, ObicCoder, RivalCoder
from obic.bench.common.measure import measure
from obic.bench.common.pictures import TestPicture
from obic.bench.rivals.plan import ONE_LAYER, ONE_QUALITY, Plan, boost_of
from obic.segment import Segmenter
from obic.weights import CodecModel, segmenter_bytes

Row = dict[str, Any]  # numbers, texts and truth values
Identity = tuple[Any, ...]  # its values of IDENTITY

IDENTITY = ("set", "picture", "content", "codec", "model", "target")


def read_rows(path: Path) -> list[Row]:
    """The rows of a compressed file that `write_rows` wrote, none if there is no such file."""
    return json.loads(lzma.decompress(path.read_bytes())) if path.exists() else []


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """One JSON list, compressed, in an order that does not depend on how it was measured."""
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in IDENTITY])
    path.write_bytes(lzma.compress(json.dumps(ordered, separators=(",", ":")).encode(), preset=9))


class Cache:
    """Rows that are already there: those given, and those in a file of one JSON object a line; what
    is added is on the disk at once."""

    def __init__(self, path: Path, known: Iterable[Row] = ()):
        self._path = path
        self._rows: dict[Identity, Row] = {}
        self._keep(known)
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):  # the last line was interrupted
                os.truncate(path, len(whole))
            self._keep(json.loads(line) for line in whole.splitlines())

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows to the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        self._keep(rows)

    def get(self, identity: Identity) -> Row | None:
        """The row with these values of IDENTITY, or None."""
        return self._rows.get(identity)

    def __getitem__(self, identity: Identity) -> Row:
        return self._rows[identity]

    def _keep(self, rows: Iterable[Row]) -> None:
        self._rows |= {tuple(row[name] for name in IDENTITY): row for row in rows}


@dataclass(frozen=True)
class Job:
    """One picture in the codecs of one family, each at its rates: all of obic together, so that it
    is analysed once."""

    set: str
    picture: TestPicture
    content: str
    models: Mapping[str, str]
    rates: Plan

    def identities(self) -> list[Identity]:
        """Those of all its rows."""
        return [self.identity(name, rate) for name, rates in self.rates.items() for rate in rates]

    def identity(self, name: str, rate: float) -> Identity:
        """What tells the row of a codec at a rate from others (IDENTITY)."""
        return self.set, self.picture.name, self.content, name, self.models[name], rate

    def without(self, cache: Cache) -> Job:
        """The part of it that is not in the cache."""
        missing = {
            name: [rate for rate in rates if cache.get(self.identity(name, rate)) is None]
            for name, rates in self.rates.items()
        }
        return replace(self, rates={name: rates for name, rates in missing.items() if rates})


def models(names: Sequence[str]) -> dict[str, str]:
    """All else that the figures of each codec depend on: the weights of obic, the settings of
    others."""
    network = f"{codec.load_model('cpu').fingerprint:08x}"
    segmenter = hashlib.sha256(segmenter_bytes()).hexdigest()[:8]
    own = {name: network if name == ONE_LAYER else f"{network} {segmenter}" for name in names}
    return own | {name: RIVALS[name].settings for name in names if name in RIVALS}


def jobs(sets: Mapping[str, Sequence[TestPicture]], plans: Mapping[str, Plan]) -> Iterator[Job]:
    """All that a plan for each set asks for."""
    for name, pictures in sets.items():
        known = models(list(plans[name]))
        families = [[each] for each in plans[name] if each in RIVALS]
        families.append([each for each in plans[name] if each not in RIVALS])
        for picture in pictures:
            regions = b"" if picture.regions is None else picture.regions.tobytes()
            content = f"{zlib.crc32(regions, zlib.crc32(picture.rgb.tobytes())):08x}"
            for family in families:
                yield Job(name, picture, content, known, {each: plans[name][each] for each in family})


def run(work: Sequence[Job], cache: Cache, workers: int, device: str) -> list[Row]:
    """The rows of all jobs, in order, from the cache or measured now: each worker is a process with
    one thread."""
    todo = [job for job in (job.without(cache) for job in work) if job.rates]
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        try:
            futures = [pool.submit(run_job, job, device) for job in todo]
            begin = time.monotonic()
            for done, future in enumerate(as_completed(futures), 1):
                cache.add(future.result())
                _progress(done, len(todo), time.monotonic() - begin)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():  # or what they have begun would be waited for
                worker.terminate()
            raise
    return [cache[identity] for job in work for identity in job.identities()]


def run_job(job: Job, device: str) -> list[Row]:
    """The rows of one job."""
    rows = []
    for name, coder in coders(job.picture, job.rates, device):
        head = {"set": job.set, "picture": job.picture.name, "content": job.content, "codec": name}
        for point in measure(job.picture, coder, job.rates[name], searched=name != ONE_QUALITY):
            rows.append({**head, "model": job.models[name], **point})
    return rows


def coders(picture: TestPicture, names: Iterable[str], device: str) -> Iterator[tuple[str, Coder]]:
    """The picture in each codec; obic analyses it once for each number of layers."""
    encoders = {}
    for name in names:
        if name in RIVALS:
            yield name, RivalCoder(picture.rgb, RIVALS[name])
            continue
        model, segmenter = _networks(device)
        labels, boost = None, 0
        if name != ONE_LAYER:
            labels, boost = (segmenter(picture.rgb) > 0).astype(np.uint8), boost_of(name)
        n_layers = 2 if labels is not None and labels.any() else 1
        if n_layers not in encoders:
            labels = labels if n_layers == 2 else None
            encoders[n_layers] = codec.PictureEncoder(picture.rgb, labels, n_layers, model=model)
        yield name, ObicCoder(encoders[n_layers], n_layers, boost, model)


@cache
def _networks(device: str) -> tuple[CodecModel, Segmenter]:
    return codec.load_model(device, encoder=True), codec.load_segmenter(device)


def _progress(done: int, total: int, seconds: float) -> None:
    if sys.stderr.isatty():
        left = seconds / done * (total - done) / 60
        bar = "#" * (30 * done // total)
        end = "\n" if done == total else ""
        print(f"\r[{bar:30s}] {done}/{total}, {left:.0f} min left ", end=end, file=sys.stderr, flush=True)
