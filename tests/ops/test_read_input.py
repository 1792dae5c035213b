"""What rmnet.ops.regional_read and the operator below it refuse, and in which words."""

import pytest
import torch

from readers import needs_native_op
from rmnet.ops import regional_read

GOOD = {
    "query_key": torch.zeros((2, 4, 5, 6)),
    "memory_key": torch.zeros((2, 3, 4, 5, 6)),
    "memory_value": torch.zeros((2, 3, 4, 5, 7)),
    "query_boxes": torch.tensor([[0, 0, 5, 4]] * 2),
    "memory_boxes": torch.tensor([[[0, 0, 5, 4]] * 3] * 2),
    "present": torch.ones((2, 3), dtype=torch.bool),
}


def read(**changed):
    return regional_read(**{**GOOD, **changed}, semantics="zeroed", scale=1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_key": GOOD["query_key"][:1]}, r"query_key is \(1, 4, 5, 6\); .* \(2, 4, 5, 6\)"),
        ({"memory_key": GOOD["memory_key"][0]}, r"memory_key is \(3, 4, 5, 6\) and memory_value"),
        ({"memory_value": GOOD["memory_value"][:, :2]}, r"memory_value is \(2, 2, 4, 5, 7\)"),
        ({"query_boxes": GOOD["query_boxes"][:1]}, r"query_boxes is \(1, 4\); .* \(2, 4\)"),
        ({"memory_boxes": GOOD["memory_boxes"][:, :2]}, r"memory_boxes .* \(2, 3, 4\)"),
        ({"present": GOOD["present"][:, :2]}, r"present is \(2, 2\); .* \(2, 3\)"),
        ({"query_key": GOOD["query_key"].half()}, r"query_key is torch.float16; .* torch.float32"),
        ({"memory_value": GOOD["memory_value"].int()}, r"memory_value is torch.int32"),
        ({"memory_key": GOOD["memory_key"].int()}, r"memory_key is torch.int32; .* floating"),
        ({"query_boxes": GOOD["query_boxes"].float()}, r"query_boxes is torch.float32; .*int32"),
        ({"present": GOOD["present"].int()}, r"present is torch.int32; .* torch.bool"),
        ({"memory_value": GOOD["memory_value"].to("meta")}, r"memory_value is on meta"),
    ],
)  # fmt: skip
def test_disagreeing_tensors_are_named_with_what_is_accepted(changed, message):
    with pytest.raises(ValueError, match=message):
        read(**changed)


@pytest.mark.parametrize("name", ["query_boxes", "memory_boxes"])
@pytest.mark.parametrize(
    "box", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 6, 2), (0, 0, 2, 5), (3, 0, 2, 2), (0, 3, 2, 2)]
)
def test_a_box_outside_the_grid_is_shown_with_the_grid(name, box):
    boxes = GOOD[name].clone()
    boxes.view(-1, 4)[-1] = torch.tensor(box)
    with pytest.raises(ValueError, match=rf"{name} has \({box[0]}, {box[1]}.* <= 5 .* <= 4, the"):
        read(**{name: boxes})


def test_boxes_of_both_integer_dtypes_are_read():
    narrow = {name: GOOD[name].int() for name in ("query_boxes", "memory_boxes")}
    assert torch.equal(read(**narrow), read())


@needs_native_op
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_key": GOOD["query_key"][:1]}, "query_key does not have the shape"),
        ({"memory_key": GOOD["memory_key"][0]}, "memory_key must be"),
        ({"memory_value": GOOD["memory_value"].half()}, "one dtype"),
        ({"memory_key": GOOD["memory_key"].double()}, "float32, float16 or bfloat16"),
        ({"query_boxes": GOOD["query_boxes"]}, "boxes must be int32"),
        ({"present": GOOD["present"].int()}, "present must be bool"),
        ({"query_boxes": GOOD["query_boxes"].int() + 1}, r"query_boxes has \(1, 1, 6, 5\)"),
        ({"memory_boxes": GOOD["memory_boxes"].int() - 1}, r"memory_boxes has \(-1, -1, 4, 3\)"),
        ({"query_key": torch.zeros((2, 4, 5, 0)), "memory_key": torch.zeros((2, 3, 4, 5, 0))},
         "are empty"),
    ],
)  # fmt: skip
def test_the_operator_itself_checks_who_calls_it_directly(changed, message):
    narrow = {name: GOOD[name].int() for name in ("query_boxes", "memory_boxes")}
    arguments = {**GOOD, **narrow, **changed}
    with pytest.raises(RuntimeError, match=message):
        torch.ops.rmnet.regional_read(**arguments, zeroed=True, scale=1.0)


@needs_native_op
def test_an_unknown_instruction_set_is_an_error():
    narrow = {name: GOOD[name].int() for name in ("query_boxes", "memory_boxes")}
    with pytest.raises(RuntimeError, match=r'instruction_set is "avx1024", .* "best"'):
        torch.ops.rmnet.regional_read(
            **{**GOOD, **narrow}, zeroed=True, scale=1.0, instruction_set="avx1024"
        )
