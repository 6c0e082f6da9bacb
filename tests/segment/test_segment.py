"""The segmenter: shapes and labels, the folding of batch norms, int8 weights and their file."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from obic.segment import CLASS_NAMES
from obic.segment.builtin import DeepLabSegmenter, read_segmenter
from obic.segment.deeplab import CLASSES, DeepLab
from obic.segment.numpy_deeplab import NumpyDeepLab
from obic.segment.shapes import LITE
from obic.segment.torch_deeplab import TorchDeepLab, fold_norms, from_int8_arrays, int8_arrays, load_network


@pytest.fixture(scope="module")
def network():
    """A network with batch norms that do something: fresh ones are nearly the identity."""
    torch.manual_seed(0)
    network = DeepLab("resnet34").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@pytest.fixture(scope="module")
def folded(network):
    copy = DeepLab("resnet34")
    copy.load_state_dict(network.state_dict())
    return fold_norms(copy)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)


def test_class_names_fit_the_network():
    assert len(CLASS_NAMES) == CLASSES + 1


@pytest.mark.parametrize("height, width", [(64, 64), (50, 90), (33, 129)])
def test_logits_come_at_stride_eight(network, height, width):
    with torch.no_grad():
        logits = network(torch.rand(1, 3, height, width))
    assert logits.shape == (1, 21, -(-height // 8), -(-width // 8))


def test_the_last_stage_is_dilated_to_output_stride_sixteen(network):
    with torch.no_grad():
        fine = network.layer2(network.stem(torch.rand(1, 3, 64, 96)))
        coarse = network.layer4(network.layer3(fine))
    assert coarse.shape[2:] == (4, 6)
    assert network.layer4[1].conv1.dilation == (2, 2)


@pytest.mark.parametrize("name", ["resnet34", "resnet101"])
def test_the_backbone_is_torchvisions(name):
    theirs = getattr(torchvision.models, name)(weights=None)
    for convolution in (module for module in theirs.layer4.modules() if isinstance(module, nn.Conv2d)):
        convolution.stride = (1, 1)
        if convolution.kernel_size == (3, 3):
            convolution.dilation = convolution.padding = (2, 2)
    first = nn.Sequential(theirs.conv1, theirs.bn1, theirs.relu, theirs.maxpool, theirs.layer1)
    stages = nn.ModuleDict({"stem": first, **{n: getattr(theirs, n) for n in ("layer2", "layer3", "layer4")}}).eval()
    ours = DeepLab(name).eval()
    backbone = {key for key in ours.state_dict() if key.split(".")[0] in stages}
    assert backbone == set(stages.state_dict())
    ours.load_state_dict(stages.state_dict(), strict=False)
    x = y = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for stage in stages:
            x, y = ours.get_submodule(stage)(x), stages[stage](y)
    torch.testing.assert_close(x, y)


def test_an_unknown_backbone_is_named():
    with pytest.raises(ValueError, match="vgg16"):
        DeepLab("vgg16")


def test_folding_changes_nothing(network, folded):
    rgb = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(folded(rgb), network(rgb), rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_int8_weights_survive_the_file(folded, picture, tmp_path):
    arrays = int8_arrays(folded, "resnet34", 96, 0.5)
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    loaded = read_segmenter((tmp_path / "w.npz").read_bytes(), "torch")
    assert (loaded.long_side, loaded.threshold) == (96, 0.5)
    again = DeepLabSegmenter(TorchDeepLab(from_int8_arrays(arrays)), 96, 0.5)
    np.testing.assert_array_equal(loaded(picture), again(picture))
    network = load_network(tmp_path / "w.npz")
    stem = network.stem[0].weight
    assert (stem - folded.stem[0].weight).abs().max() <= arrays["stem.0.scale"].max() * 0.5001
    again = int8_arrays(network, "resnet34", 96, 0.5)
    np.testing.assert_array_equal(again["layer4.2.conv2.weight"], arrays["layer4.2.conv2.weight"])


def test_every_weight_is_one_byte(folded):
    arrays = int8_arrays(folded, "resnet34", 96, 0.0)
    convolutions = [name for name in arrays if name.endswith(".weight")]
    assert len(convolutions) == sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    assert {arrays[name].dtype for name in convolutions} == {np.dtype(np.int8)}
    assert all(np.abs(arrays[name].astype(int)).max() == 127 for name in convolutions)


def test_a_foreign_file_of_weights_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", backbone=np.array("resnet34"))
    with pytest.raises(KeyError):
        read_segmenter(tmp_path / "w.npz")


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (37, 53)])
def test_labels_of_any_size(folded, size):
    labels = DeepLabSegmenter(TorchDeepLab(folded), 64)(np.full((*size, 3), 200, np.uint8))
    assert labels.shape == size and labels.dtype == np.uint8 and labels.max() <= CLASSES


def test_the_threshold_divides_object_from_background(folded, picture):
    everywhere = DeepLabSegmenter(TorchDeepLab(folded), 64, threshold=-1e9)(picture)
    nowhere = DeepLabSegmenter(TorchDeepLab(folded), 64, threshold=1e9)(picture)
    assert everywhere.min() >= 1 and nowhere.max() == 0


@pytest.mark.parametrize("picture", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_other_arrays_are_refused(folded, picture):
    with pytest.raises(TypeError, match="uint8"):
        DeepLabSegmenter(TorchDeepLab(folded), 64)(picture)


@pytest.mark.parametrize("backbone", [LITE, "resnet34"])
def test_numpy_computes_what_torch_does(backbone):
    """From the same packed weights, within what float32 rounds."""
    torch.manual_seed(0)
    arrays = int8_arrays(fold_norms(DeepLab(backbone)), backbone, 96, 0.0)
    network, numpy_network = from_int8_arrays(arrays), NumpyDeepLab(arrays)
    for size in ((64, 96), (48, 32)):
        pictures = np.random.default_rng(0).random((2, *size, 3), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(numpy_network(pictures), expected, atol=2e-4 * np.abs(expected).max())


def test_classes_of_a_large_picture_are_those_of_a_small_one(folded):
    """Decided at the size that the network saw, and spread: nothing else is where nothing else
    was."""
    segmenter = DeepLabSegmenter(TorchDeepLab(folded), 64, threshold=-1e9)
    y, x = np.mgrid[:48, :64]
    small = np.dstack([4 * x, 5 * y, 2 * (x + y)]).astype(np.uint8)
    labels, large = segmenter(small), segmenter(small.repeat(4, 0).repeat(4, 1))
    assert large.shape == (192, 256) and (large[2::4, 2::4] == labels).mean() > 0.9
