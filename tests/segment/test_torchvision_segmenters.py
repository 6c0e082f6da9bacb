"""`--segmenter torchvision:NETWORK`: its networks without their weights, which nothing here
downloads."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from obic.segment import CLASS_NAMES
from obic.segment.adapters import resolve
from obic.segment.adapters.torchvision import TorchvisionSegmenter, names

NETWORKS = list_models(module=torchvision.models.segmentation)
COLOURS = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]


class ByColour(nn.Module):
    """Background where it is black, a dog where red, a person where green; at a quarter of the
    size."""

    def __init__(self, wanted):
        super().__init__()
        self.sizes = []
        mean, std = (nn.Parameter(torch.tensor(values)[:, None, None]) for values in (wanted.mean, wanted.std))
        self.mean, self.std = mean, std

    def forward(self, pictures):
        self.sizes.append(tuple(pictures.shape[2:]))
        red, green, _ = (pictures * self.std + self.mean)[0, :, ::4, ::4]
        logits = torch.full((1, 21, *red.shape), -9.0)
        logits[0, 0], logits[0, 12], logits[0, 15] = 0.5, red, green
        return {"out": logits}


@pytest.fixture
def stub():
    weights = get_model_weights("deeplabv3_resnet50").DEFAULT
    return TorchvisionSegmenter(ByColour(weights.transforms()), weights)


def test_classes_names_and_where_they_are(stub):
    picture = np.repeat(np.uint8([COLOURS]), 100, axis=1).repeat(200, axis=0)
    labels = stub(picture)
    assert labels.shape == (200, 300) and labels[100, 50::100].tolist() == [0, 12, 15]
    assert stub.class_names == CLASS_NAMES


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (700, 3), (33, 50)])
def test_pictures_of_any_size_are_seen_at_a_bounded_one(stub, size):
    assert (stub(np.full((*size, 3), (255, 0, 0), np.uint8)) == 12).all()
    (seen,) = stub._network.sizes
    assert min(seen) == 520 and max(seen) <= 1040


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_speaks_of_vocs_classes(name):
    assert get_model_weights(name).DEFAULT.meta["categories"][1:] == list(CLASS_NAMES[1:])
    assert name in dict(names())


def test_a_real_network_with_weights_from_a_patched_download(monkeypatch):
    name = "lraspp_mobilenet_v3_large"  # the smallest
    torch.manual_seed(0)
    state = get_model(name, weights=None, weights_backbone=None).state_dict()
    asked = []

    def download(url, **_):
        asked.append(url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    labels = resolve(f"torchvision:{name}", "cpu")(np.full((30, 40, 3), 90, np.uint8))
    assert labels.shape == (30, 40) and labels.dtype == np.uint8 and labels.max() <= 20
    assert len(asked) == 1


def test_a_download_that_fails_is_one_line(obic, monkeypatch):
    def download(url, **_):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with open("photo.ppm", "wb") as file:
        file.write(b"P6 1 1 255 abc")
    done = obic("mask", "photo.ppm", "--segmenter", "torchvision:lraspp_mobilenet_v3_large")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "lraspp" in done.err and "no route to host" in done.err


@pytest.mark.parametrize("name", ["resnet50", "deeplabv3", "maskrcnn_resnet50_fpn"])
def test_networks_for_other_things_are_refused_with_the_list(obic, name):
    with open("photo.ppm", "wb") as file:
        file.write(b"P6 1 1 255 abc")
    done = obic("mask", "photo.ppm", "--segmenter", f"torchvision:{name}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert all(known in done.err for known in NETWORKS)
