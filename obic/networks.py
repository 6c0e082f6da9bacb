"""Room 4. The networks of one process on one device, loaded when first asked for; nothing heavy before."""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from obic import forks
from obic.looks import FAITHFUL

if TYPE_CHECKING:
    from obic.segment import Segmenter
    from obic.weights import CodecModel


class Networks:
    """Codecs and the segmenter, each loaded once, for any number of threads.

    device: "auto", "cpu" or "cuda". workers: threads that are going to compute at a time; they share the cores.
    """

    def __init__(self, device: str = "auto", workers: int = 1):
        forks.watch()
        self._device = device
        self._workers = workers
        self._lock = Lock()
        self._codecs: dict[tuple[int | None, bool, str], CodecModel] = {}
        self._segmenter: Segmenter | None = None

    def codec(
        self, fingerprint: int | None = None, *, encoder: bool = False, look: str = FAITHFUL
    ) -> "CodecModel":
        """As `obic.codec.load_model`; a codec that can encode serves decoding too."""
        from obic.codec import load_model

        with self._lock:
            if (fingerprint, encoder, look) not in self._codecs:
                model = self._load(lambda: load_model(self._device, fingerprint, encoder, look))
                for name in (fingerprint, model.fingerprint):
                    self._codecs[name, encoder, look] = self._codecs[name, False, look] = model
            return self._codecs[fingerprint, encoder, look]

    def segmenter(self) -> "Segmenter":
        """As `obic.codec.load_segmenter`."""
        from obic.codec import load_segmenter

        with self._lock:
            if self._segmenter is None:
                self._segmenter = self._load(lambda: load_segmenter(self._device))
            return self._segmenter

    def _load(self, load: Callable):
        if self._workers > 1 and not self._codecs and self._segmenter is None:
            import torch

            torch.set_num_threads(max(1, torch.get_num_threads() // self._workers))
        return load()
