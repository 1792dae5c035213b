"""Both executors compute the network's own numbers."""

import dataclasses

import pytest
import torch

import tiny
from rmnet.geometry.regions import cells_in_boxes
from rmnet.network.rmnet import RMNet
from rmnet.ops import inverted_residual_obstacle
from rmnet.runtime import FusedNetwork, fused_blocks, make_executor
from rmnet.runtime import objectwise as objectwise_module
from rmnet.runtime.crops import CellBox, encoder_halo, union
from rmnet.runtime.executor import BatchedExecutor
from rmnet.runtime.objectwise import REGIONAL, Halos, ObjectwiseExecutor, exact_halos
from rmnet.runtime.workspace import Workspace

# One in each corner, one inside, the whole grid of 6 x 8 cells, and a lost object's.
BOXES = torch.tensor(
    [[0, 0, 3, 2], [5, 4, 8, 6], [2, 1, 5, 4], [0, 0, 8, 6], [0, 0, 0, 0]], dtype=torch.int32
)
CONFIGS = {
    "basic blocks": tiny.CONFIG,
    "bottlenecks": dataclasses.replace(
        tiny.CONFIG, backbone="resnet50", stage_widths=(16, 24, 32), stage_depths=(2, 1, 2)
    ),
    "inverted residuals": dataclasses.replace(
        tiny.CONFIG,
        backbone="efficientnet_lite0",
        stem_width=32,
        stage_widths=(24, 40, 112),
        stage_depths=(3, 2, 6),
    ),
    "tied": dataclasses.replace(tiny.CONFIG, tied_encoders=True),
    "no others": dataclasses.replace(tiny.CONFIG, others_input=False),
}


def trained(config):
    """A network whose BatchNorms do something, as those of a trained one."""
    network = tiny.network(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        is_norm = "norm" in name or "bn" in name or "downsample.1" in name
        if is_norm and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def network(request):
    return trained(request.param)


@pytest.fixture
def image():
    return torch.randn((1, 3, 96, 128))


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def objectwise(network, halos=None):
    fused = FusedNetwork(network)
    return ObjectwiseExecutor(fused, exact_halos(fused) if halos is None else halos)


def batched(network):
    return BatchedExecutor(FusedNetwork(network))


@torch.inference_mode()
def everything(executor, image, masks, boxes):
    """Key and value of memory, features of the query, and probabilities."""
    key, value = executor.encode_memory(image, masks, boxes)
    query = executor.encode_query(image, boxes)
    return key, value, query, executor.decode(value, query, boxes)


@pytest.mark.parametrize("make", [objectwise, batched])
def test_executors_give_the_networks_own_numbers(network, image, make):
    masks = torch.rand((len(BOXES), 96, 128))
    key, value, query, decoded = everything(make(network), image, masks, BOXES)
    inside = cells_in_boxes(BOXES, 6, 8)
    with torch.inference_mode():
        want_key, want_value = network.encode_memory(image, masks[None])
        want = network.encode_query(image)
        probabilities = network.decode(value, want, BOXES)[0]
    assert close(key[inside], want_key[inside])
    assert close(value[inside], want_value[inside])
    for have, wanted in zip(query, want, strict=True):  # one of the boxes is the whole grid
        assert close(have, wanted)
    assert close(decoded, probabilities)


def test_the_device_and_the_request_choose_the_executor():
    fused = FusedNetwork(tiny.network())
    assert make_executor(fused, regional=False)._halos == exact_halos(fused)
    assert make_executor(fused, regional=True)._halos == REGIONAL
    fused.device = torch.device("cuda")
    assert isinstance(make_executor(fused, regional=False), BatchedExecutor)
    assert isinstance(make_executor(fused, regional=True), ObjectwiseExecutor)


def test_an_efficientnet_equals_the_plain_network_within_1e_5(image, monkeypatch):
    """Both ways of computing its blocks: by the native operator, and by PyTorch."""
    network = trained(CONFIGS["inverted residuals"])
    want = network.query_encoder(image)
    for why in (None, "for the test"):
        if why is not None:
            monkeypatch.setattr(fused_blocks, "inverted_residual_obstacle", lambda *_, why=why: why)
        elif inverted_residual_obstacle(image.device, image.dtype) is not None:
            continue
        ours = FusedNetwork(network).query_encoder
        assert isinstance(ours.stage8, fused_blocks.NativeStage) == (why is None)
        with torch.inference_mode(), Workspace.of_this_thread().scope():
            f4, f8 = ours.shallow_stages(ours.stem(image))
            for have, wanted in zip((f4, f8, ours.stage16(f8)), want, strict=True):
                assert (have - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_only_cells_of_a_box_get_keys_and_values(image):
    masks = torch.rand((5, 96, 128))
    ours = objectwise(trained(tiny.CONFIG))
    key, value, _, _ = everything(ours, image, masks, BOXES)
    outside = ~cells_in_boxes(BOXES, 6, 8)
    outside[4, 0, 0] = False  # of an empty box one cell is computed all the same
    assert not key[outside].any()
    assert not value[outside].any()
    query = ours.encode_query(image, BOXES[1:3])
    around = cells_in_boxes(torch.tensor([2, 1, 8, 6]), 6, 8)  # the smallest box around both
    assert not query.key[0, ~around].any()
    assert query.key[0, around].any(dim=-1).all()


@pytest.mark.parametrize(("make", "calls_for_two"), [(objectwise, 2), (batched, 1)])
def test_a_lone_object_has_no_others(make, calls_for_two):
    calls = []
    ours = make(trained(tiny.CONFIG))
    ours._network.memory_encoder.others_stem.register_forward_hook(lambda *_: calls.append(1))
    image, masks = torch.randn((1, 3, 96, 128)), torch.rand((2, 96, 128))
    ours.encode_memory(image, masks[:1], BOXES[:1])
    assert not calls
    ours.encode_memory(image, masks, BOXES[:2])
    assert len(calls) == calls_for_two


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(config, stage_depths=depths)
        for config in (CONFIGS["basic blocks"], CONFIGS["bottlenecks"])
        for depths in ((1, 1, 1), (2, 2, 2), (3, 4, 6))
    ],
    ids=lambda config: f"{config.backbone} {config.stage_depths}",
)
@pytest.mark.parametrize("corner", [(0, 0), (19, 19), (37, 37)])
def test_far_from_a_box_nothing_need_be_encoded(config, corner, monkeypatch):
    """A grid of 40 x 40 cells, of which a box wants 3 x 3: its halo is large, and large enough."""
    x, y = corner
    network, box = trained(config), torch.tensor([[x, y, x + 3, y + 3]], dtype=torch.int32)
    ours = objectwise(network)
    sizes = []
    ours._network.memory_encoder.register_forward_hook(lambda _, args, __: sizes.append(args[1]))
    image, masks = torch.randn((1, 3, 640, 640)), torch.rand((1, 640, 640))
    with torch.inference_mode():
        key, value = ours.encode_memory(image, masks, box)
        query = ours.encode_query(image, box)
        want_key, want_value = network.encode_memory(image, masks[None])
        want = network.encode_query(image)
    inside = cells_in_boxes(box, 40, 40)
    assert close(key[inside], want_key[inside])
    assert close(value[inside], want_value[inside])
    assert close(query.key[inside], want.key[inside])
    assert close(query.skip4, want.skip4)
    halo = 1 + encoder_halo(network.memory_encoder)
    seen_cells = min(x + 3 + halo, 40) - max(x - halo, 0)
    assert sizes[0].shape[-2:] == (16 * seen_cells, 16 * seen_cells)


def test_the_network_stays_as_it_was_loaded(network):
    before = {name: x.clone() for name, x in network.state_dict().items()}
    modules = [type(module) for module in network.modules()]
    for make in (objectwise, batched):
        everything(make(network), torch.randn((1, 3, 96, 128)), torch.rand((5, 96, 128)), BOXES)
    assert [type(module) for module in network.modules()] == modules
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(x, after[name]) for name, x in before.items())


def test_weights_that_need_no_change_are_shared():
    network = RMNet(tiny.CONFIG)
    ours = FusedNetwork(network)
    assert ours.flow.conv1.weight is network.flow.conv1.weight
    assert ours.decoder.predict.weight is network.decoder.predict.weight
    for name in ("decoder.entry", "memory_head.value"):
        shared, same = ours.get_submodule(name).weight, network.get_submodule(name).weight
        assert shared.data_ptr() == same.data_ptr()


def test_no_batchnorm_is_left(network):
    kinds = [type(module) for module in FusedNetwork(network).modules()]
    assert torch.nn.BatchNorm2d not in kinds


def test_a_halo_over_the_whole_frame_gives_the_exact_numbers(network, image):
    masks = torch.rand((3, 96, 128))
    exact = everything(objectwise(network), image, masks, BOXES[:3])
    wide = Halos(query=8, memory=8, decoder=8)
    regional = everything(objectwise(network, wide), image, masks, BOXES[:3])
    for index in (0, 1, 3):  # the frame is cut in other places, so the last bits may differ
        assert close(exact[index], regional[index])


def test_regional_decoding_sees_the_region_and_its_halo_alone(image):
    ours = objectwise(trained(tiny.CONFIG), Halos(query=2, memory=2, decoder=1))
    masks, shapes = torch.rand((1, 96, 128)), []
    network = ours._network
    for part in (network.query_encoder.stem, network.memory_encoder, network.decoder):
        part.register_forward_hook(lambda _, args, __: shapes.append(tuple(args[0].shape[-2:])))
    box = torch.tensor([[3, 2, 5, 4]])  # 2 x 2 cells in a grid of 6 x 8
    decoded = everything(ours, image, masks, box)[3]
    # The stem of the memory encoder is at stride 2; the decoder starts from cells.
    assert shapes == [(6 * 8, 6 * 8), (6 * 16, 6 * 16), (4, 4)]
    outside = torch.ones((96, 128), dtype=torch.bool)
    outside[16:80, 32:96] = False
    assert not decoded[0, outside].any()
    assert decoded[0, ~outside].all()


def test_regional_without_any_region_looks_everywhere(image):
    ours, masks = objectwise(trained(tiny.CONFIG), REGIONAL), torch.rand((1, 96, 128))
    decoded = everything(ours, image, masks, BOXES[4:])[3]
    assert decoded.all()


def test_boxes_are_cut_out():
    planes = torch.rand((1, 2, 12, 16))
    box = CellBox(1, 2, 3, 5)
    assert box.shape == (3, 2)
    part = box.cut(planes, 2)
    assert torch.equal(part, planes[:, :, 4:10, 2:6])
    assert box.widened(2, CellBox(0, 0, 4, 6)) == (0, 0, 4, 6)
    assert box.seen_from(CellBox(1, 1, 9, 9)) == (0, 1, 2, 4)
    assert union([CellBox(0, 0, 0, 0), box, CellBox(2, 0, 4, 3)]) == (1, 0, 4, 5)
    assert union([CellBox(0, 0, 0, 0)]).is_empty


@pytest.mark.parametrize("regional", [False, True])
def test_a_video_is_regional_on_request(regional, monkeypatch):
    monkeypatch.setattr(objectwise_module, "REGIONAL", REGIONAL._replace(query=0))
    frames, labels = tiny.clip(num_frames=2)
    labels[labels == 3] = 0  # the object that is left lies in the right half
    segmenter = tiny.segmenter()
    sizes = []
    segmenter._inference.query_encoder.stem.register_forward_hook(
        lambda _, args, __: sizes.append(tuple(args[0].shape[-2:]))
    )
    segmenter.track(frames, labels, regional=regional, flow="none")
    assert sizes == [(48, 64) if regional else (64, 96)]


def test_stages_and_heads_leave_their_input_alone(network):
    fused = FusedNetwork(network)
    encoder = fused.query_encoder
    x = torch.randn((1, 3, 96, 128)).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), Workspace.of_this_thread().scope():
        features = encoder.stem_activation(encoder.stem(x))
        for part in (encoder.stage4, encoder.stage8, encoder.stage16, fused.memory_head):
            before = features.clone()
            result = part(features)
            assert torch.equal(features, before)
            features = result
