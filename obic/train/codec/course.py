"""A course: training that goes on, sitting after sitting, exactly where the last one stood.

Its phases are counted in crops, and the rate of learning is held. Where it falls, that is a branch
of its own: begun from a held checkpoint and kept apart, so that the course goes on as it stood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from obic.nn.model import CodecNetwork
from obic.train.codec.checkpoint import Places, read_codec
from obic.train.codec.crops import Batches
from obic.train.codec.loss import EMPHASIS, training_loss
from obic.train.common import parallel
from obic.train.common.bfloat16 import mixed_precision
from obic.train.common.command import Budget
from obic.train.common.curves import Curves, say
from obic.train.common.optim import Average, Optimisers

MEMORY = 16_000  # crops that the average of the weights reaches back
MEMORY_OF_DECAY = 0.05  # of a decay's crops at most: see Course.memory
SNAPSHOT_EVERY = 50_000  # crops
BEYOND = 10.0  # times the usual loss: the run has run away
BACK_TO = 0.7  # of the rate of learning it goes on with
LOWEST_RATE = 0.1  # of what the course began with: more than six times back is no accident


@dataclass
class Log:
    """Where a course stands, and its settings.

    minutes: of all sittings; rate: what going back has left of the rates of learning, 0..1; usual:
    the mean loss of a minute; decay_from, decay_crops: the count at which the rate began to fall,
    and the crops it takes (0: it is held).
    """

    steps: int = 0
    crops: int = 0
    minutes: float = 0.0
    rate: float = 1.0
    usual: float | None = None
    decay_from: int = 0
    decay_crops: int = 0
    muon_lr: float = 0.004
    adam_lr: float = 0.001
    weight_decay: float = 0.01
    emphasis: float = EMPHASIS

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Log:
        """Of what a checkpoint says, of an older kind too."""
        return cls(**{each.name: facts[each.name] for each in fields(cls) if each.name in facts})

    @property
    def decayed(self) -> float:
        """The share of the decay that is done, 0..1."""
        return min(1.0, (self.crops - self.decay_from) / self.decay_crops) if self.decay_crops else 0.0


class Course:
    """A network in training, with all that going on needs."""

    def __init__(self, network: CodecNetwork, batches: Batches, log: Log):
        self.network, self.batches, self.log = network, batches, log
        network.to(batches.device).to(memory_format=torch.channels_last).train()
        parallel.start_equal(network)
        self.optimisers = Optimisers(network, log.muon_lr, log.adam_lr, weight_decay=log.weight_decay)
        self.average = Average(network)

    @property
    def memory(self) -> float:
        """Crops that the average of the weights reaches back.

        While the rate is held, as many as smooth out what the weights swing by. While it falls, the
        average must not lag behind it: over a twentieth of the decay the rate falls by a twentieth,
        and at the end the weights hardly move any more.
        """
        return min(MEMORY, MEMORY_OF_DECAY * self.log.decay_crops) if self.log.decay_crops else MEMORY

    def step(self) -> tuple[float, ...]:
        """One update. -> loss, bits per pixel, distortion and the share of the hyper-latent, of
        this process."""
        log, device = self.log, self.batches.device
        pixels, labels = self.batches.draw()
        with mixed_precision(device):
            loss, *figures = training_loss(
                self.network, pixels, labels, log.crops, self.batches.random, log.emphasis)
        loss.backward()
        parallel.average_gradients(self.network)
        self.optimisers.step(log.decayed, log.rate)
        added = self.batches.count * parallel.count()
        self.average.decay = math.exp(-added / self.memory)
        self.average.update(self.network)
        log.steps += 1
        log.crops += added
        return loss.item(), *figures

    def sound(self, loss: float) -> bool:
        """Whether a minute's mean loss is anything like what is usual, which then takes it in."""
        usual = self.log.usual
        if not math.isfinite(loss) or (usual is not None and loss > BEYOND * usual):
            return False
        self.log.usual = loss if usual is None else usual + 0.1 * (loss - usual)
        return True

    def state(self) -> dict[str, Any]:
        """What `restore` takes, and more than `load_checkpoint` needs; `state` is the average.
        Called by all processes, as each has random numbers of its own."""
        return {
            "shape": self.network.shape.as_dict(),
            "state": self.average.state,
            "raw": self.network.state_dict(),
            "updates": self.average.updates,
            "optimisers": self.optimisers.state(),
            "random": parallel.gathered(self._random_state()),
            "log": asdict(self.log),
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Goes on from what a checkpoint holds (`checkpoint.read_codec`). What it lacks begins
        anew: without weights of their own the average stands for them, optimisers warm up again,
        and crops are drawn from another seed."""
        self.log = Log.of(content["log"])
        self.network.load_state_dict(content.get("raw", content["state"]))
        self.average.updates = content.get("updates", self.log.steps)
        for name, value in self.average.state.items():
            value.copy_(content["state"][name])
        if "optimisers" in content:
            self.optimisers.restore(content["optimisers"])
        if len(content.get("random", ())) == parallel.count():
            self._set_random_state(content["random"][parallel.rank()])
        else:
            self.draw_others()

    def draw_others(self) -> None:
        """Other crops and other noise than any process has drawn so far."""
        seed = torch.initial_seed() + self.log.crops + 1
        torch.manual_seed(seed)
        self.batches.random.seed(seed)

    def _random_state(self) -> dict[str, Any]:
        state = {"batches": self.batches.random.getstate(), "cpu": torch.get_rng_state()}
        if self._on_cuda:
            state["cuda"] = torch.cuda.get_rng_state(self.batches.device)
        return state

    def _set_random_state(self, state: Mapping[str, Any]) -> None:
        self.batches.random.setstate(state["batches"])
        torch.set_rng_state(state["cpu"])
        if self._on_cuda and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.batches.device)

    @property
    def _on_cuda(self) -> bool:
        return torch.device(self.batches.device).type == "cuda"


def train(course: Course, places: Places, minutes: float, save_every: float = 5.0) -> None:
    """A sitting of so many minutes, or to the end of the decay.

    Writes a line of the curves every minute (beside the checkpoint, with .csv), saves the course
    every few minutes and keeps the averaged weights of every SNAPSHOT_EVERY crops. A minute whose
    loss is far beyond the usual is undone: the course goes back to what was saved last, with a
    lower rate of learning. Raises SystemExit when it was interrupted, after saving; ValueError if
    it runs away again and again.
    """
    names, facts = ("loss", "bpp", "distortion", "hyper_share"), ("crops", "rate", "crops_a_minute")
    curves = Curves(places.out.with_suffix(".csv"), names, facts, go_on=True)
    places.save(course.state())  # there is always something to go back to
    now = saved = reported = 0.0
    begun, over = course.log.crops, False
    with Budget(minutes) as budget:
        while not over:
            before, earlier, now = course.log.crops, now, budget.spent() / 60
            course.log.minutes += now - earlier
            curves.add(*course.step())
            if course.log.crops // SNAPSHOT_EVERY > before // SNAPSHOT_EVERY:
                places.keep(course.state())
            over = budget.over or course.log.decayed >= 1
            if not (over or now - reported > 1):
                continue
            speed = (before - begun) / max(now - reported, 1e-9)
            loss = curves.report(course.log.minutes, course.log.steps, max(0.0, minutes - now),
                                 course.log.crops, course.log.rate, speed)
            if not course.sound(loss):
                _go_back(course, places, loss)
            elif over or now - saved > save_every:
                places.save(course.state())
                saved = now
            reported, begun = now, course.log.crops
    budget.end("go on with --resume")


def _go_back(course: Course, places: Places, loss: float) -> None:
    usual = course.log.usual or math.nan
    course.restore(read_codec(places.out))
    course.draw_others()
    course.log.rate *= BACK_TO
    if course.log.rate < LOWEST_RATE:
        raise ValueError(f"the loss has run away too often: --resume {places.out} with a lower --muon-lr")
    places.save(course.state())
    say(f"a loss of {loss:.3g} where {usual:.3g} is usual: back to {course.log.crops} crops, from here on at "
        f"{course.log.rate:.2f} of the rate of learning")
