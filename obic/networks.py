"""Room 4. The networks of a process: which backend computes them, on what, loaded when first asked
for."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from obic.backends import check_choice, choose_backend, choose_device, need_torch
from obic.errors import UsageError
from obic.looks import FAITHFUL, LOOKS
from obic.prompts import BUILTIN

if TYPE_CHECKING:
    from obic.segment import Segmenter
    from obic.segment.builtin import DeepLabSegmenter
    from obic.weights import CodecModel


def load_model(
    device: str = "auto",
    fingerprint: int | None = None,
    encoder: bool = False,
    look: str = FAITHFUL,
    backend: str = "auto",
) -> CodecModel:
    """The codec's networks and tables. device: "auto", "cpu" or "cuda"; fingerprint: None for the
    default model.

    look: what decoded pictures are to be, "faithful" or "vivid" (sharp instead of smooth at low
    rates). backend: "numpy", "torch" or "auto" (`choose_backend`).

    Raises UsageError (no such device, backend or look), UnsupportedError (no such model, or a model
    without that look) or ObicError (weights that are missing or damaged).
    """
    from obic.weights import load_codec

    if look not in LOOKS:
        raise UsageError(f"unknown look {look!r}; choose {' or '.join(LOOKS)}")
    check_choice(backend, device)
    chosen = choose_backend(backend, device, 0)
    return load_codec(fingerprint, backend=chosen, device=device, encoder=encoder, look=look)


def load_segmenter(device: str = "auto", backend: str = "auto") -> DeepLabSegmenter:
    """The segmenter: rgb uint8 [H, W, 3] -> label map uint8 [H, W], 0 = background. Arguments and
    errors as for `load_model`."""
    from obic.segment import read_segmenter as load
    from obic.weights import segmenter_bytes

    check_choice(backend, device)
    return load(segmenter_bytes(), choose_backend(backend, device, 0), device)


class Networks:
    """Codecs and the segmenter, each loaded once, for any number of threads.

    device, backend: as for `load_model`; a backend of "auto" is chosen when the first network is
    loaded. workers: threads that are going to compute at a time; they share the cores. pictures:
    how many are expected. segmenter: "builtin", or what `obic.segment.adapters.resolve` takes.
    own_process: the process is there for this alone, and may keep memory for it.
    Raises UsageError where device and backend do not fit together.
    """

    def __init__(
        self,
        device: str = "auto",
        backend: str = "auto",
        *,
        segmenter: str | Segmenter = BUILTIN,
        workers: int = 1,
        pictures: int = 1,
        own_process: bool = False,
    ):
        check_choice(backend, device)
        self.device = device
        self.backend = backend
        self._auto = backend == "auto"
        self._workers, self._pictures, self._own_process = workers, pictures, own_process
        self._lock = Lock()
        self._codecs: dict[tuple[int | None, bool, str], CodecModel] = {}
        self._choice = segmenter
        self._segmenter: Segmenter | None = None

    def settle(self, pixels: int, gradients: bool = False) -> None:
        """Chooses the backend, if it is not chosen yet, for pictures of about so many pixels each.
        gradients: they will be asked for, which numpy does not give. Raises UsageError where there
        is no such backend."""
        with self._lock:
            if gradients and self.backend != "torch":
                if self.backend == "numpy" and not self._auto:
                    raise UsageError("effort needs PyTorch's gradients: use --effort 0, or --backend torch")
                need_torch("effort")
                self.backend = "torch"
                self._codecs.clear()
            elif self.backend == "auto":
                self.backend = choose_backend("auto", self.device, pixels * self._pictures)
            if self.backend == "numpy" and self._own_process:
                from obic.backends.strips import keep_freed_memory

                keep_freed_memory()
            if self.backend == "torch" and self._workers > 1:
                import torch

                torch.set_num_threads(max(1, torch.get_num_threads() // self._workers))
                self._workers = 1  # it is done

    @property
    def on_gpu(self) -> bool:
        """Whether the backend, where it is chosen, computes on a GPU."""
        return self.backend == "torch" and choose_device(self.device) == "cuda"

    def codec(self, fingerprint: int | None = None, *, encoder: bool = False, look: str = FAITHFUL) -> CodecModel:
        """As `load_model`; a codec that can encode serves decoding too."""
        with self._lock:
            if (fingerprint, encoder, look) not in self._codecs:
                model = load_model(self.device, fingerprint, encoder, look, self.backend)
                for name in (fingerprint, model.fingerprint):
                    self._codecs[name, encoder, look] = self._codecs[name, False, look] = model
            return self._codecs[fingerprint, encoder, look]

    def segmenter(self) -> Segmenter:
        """The one chosen. Raises as `load_segmenter`, or as `obic.segment.adapters.resolve`."""
        with self._lock:
            if self._segmenter is None and self._choice != BUILTIN:
                from obic.segment.adapters import resolve

                self._segmenter = resolve(self._choice, self.device)
            if self._segmenter is None:
                self._segmenter = load_segmenter(self.device, self.backend)
            return self._segmenter

    @property
    def segmenter_name(self) -> str:
        """What `segmenter` is called; obic's own with the start of its weights' SHA-256. Raises
        ObicError where those are missing."""
        if self._choice != BUILTIN:
            return self._choice if isinstance(self._choice, str) else "of the caller"
        from obic.weights import segmenter_digest

        return f"{BUILTIN} {segmenter_digest()[:8]}"
