"""The CUDA kernels, run on a CPU by tests/cuda_emulator and compared with the float64 loop."""

import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference

TESTS = Path(__file__).resolve().parent
EMULATOR = TESTS / "cuda_emulator"
KERNELS = TESTS.parent / "csrc" / "cuda"
COMPILER = "g++"

pytestmark = [
    pytest.mark.skipif(not KERNELS.is_dir(), reason="the CUDA sources are not here"),
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no {COMPILER}"),
]

FLAGS = ("-std=c++17", "-g1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
FLAGS += ("-Wno-class-memaccess",)  # memcpy to a __half2, which is how CUDA C++ goes about it
BUILDS = {
    "plain": ("-O2",),
    "address": ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-DFEW_KERNELS"),
    "thread": ("-O2", "-fsanitize=thread", "-DFEW_KERNELS"),
}
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}

RIGHT = (
    "product_of_halves",
    "product_of_bfloat16",
    "copies_land_with_their_group",
    "shuffles",
    "barriers",
    "threads_may_end_early",
    "unwritten_memory_is_poison",
)
WRONG = {
    "missing_barrier": "element of the reverse",
    "different_barriers": "threads meet in different __syncthreads",
    "different_instructions": "lanes of a warp meet in different calls",
    "stuck": r"threads wait forever:\n  threads 0 to 31 .* wait in __syncthreads at .*\.h:\d+",
    "different_lanes": "threads wait forever",
    "shuffle_beyond_its_lanes": "reads lane 8, which has no part in it",
    "write_beyond_shared": "a write at byte 64 of 64 shared bytes",
    "load_at_8": "ldmatrix at byte 8: not aligned",
    "load_beyond_shared": "ldmatrix at byte 64 of 64 shared bytes",
    "copy_beyond_its_buffer": "in no global buffer",
    "copy_from_8": "cp.async from .*: not aligned",
    "too_much_shared": "launch of a",
}
RACES = (
    "missing_barrier",
    "race_of_ldmatrix",
    "race_of_copies",
    "race_in_a_warp",
    "race_of_blocks",
)

SEMANTICS = ("zeroed", "excluded")
WIDTHS = ((128, 512), (64, 192))  # of keys and values, that there are kernels for
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def cuda_include():
    """Folder with CUDA's headers, from a toolkit or from NVIDIA's wheels; no compiler needed."""
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    roots += [p / "nvidia" / "cu13" for p in map(Path, sys.path) if (p / "nvidia").is_dir()]
    for root in filter(None, roots):
        include = Path(root) / "include"
        if all((include / name).is_file() for name in ("cuda_fp16.h", "crt/host_defines.h")):
            return include
    pytest.skip("no CUDA headers: set CUDA_HOME to a toolkit")


def has_sanitizer(kind):
    library = {"address": "libasan.so", "thread": "libtsan.so"}[kind]
    command = [COMPILER, f"-print-file-name={library}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return Path(found).is_absolute()


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Compiles a source of tests/cuda_emulator; each build of each source once."""
    include = cuda_include()
    folder = tmp_path_factory.mktemp("cuda_emulator")
    (folder / "cuda").mkdir()
    for header in KERNELS.glob("*.cuh"):  # the kernels beside the emulator's ptx.cuh
        source = EMULATOR / "ptx.cuh" if header.name == "ptx.cuh" else header
        (folder / "cuda" / header.name).symlink_to(source)

    def build(source, kind):
        program = folder / f"{source}_{kind}"
        if program.exists():
            return program
        if kind != "plain" and not has_sanitizer(kind):
            pytest.skip(f"{COMPILER} comes without the library of -fsanitize={kind}")
        folders = ["-I", folder, "-I", EMULATOR, "-isystem", include, "-include", "emulator.h"]
        run(COMPILER, *FLAGS, *BUILDS[kind], *folders, EMULATOR / f"{source}.cpp", "-o", program)
        return program

    return build


def run(*command, check=True, **options):
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        env=os.environ | SANITIZER_OPTIONS,
        check=False,
        **options,
    )
    messages = done.stderr.decode(errors="replace")
    if "unexpected memory mapping" in messages:
        pytest.skip("ThreadSanitizer does not run under this kernel's address randomisation")
    if check and done.returncode != 0:
        pytest.fail(f"{Path(str(command[0])).name} ended with {done.returncode}:\n{messages}")
    return done


@pytest.mark.parametrize("kind", BUILDS)
def test_primitives_do_as_the_ptx_isa_says(build, kind):
    run(build("test_primitives", kind), *RIGHT)


@pytest.mark.parametrize("name", WRONG)
def test_an_error_in_a_kernel_is_found(build, name):
    done = run(build("test_primitives", "plain"), name, check=False)
    assert done.returncode != 0
    assert re.search(WRONG[name], done.stderr.decode())


@pytest.mark.parametrize("name", RACES)
def test_a_race_is_found_even_where_no_number_is_wrong(build, name):
    done = run(build("test_primitives", "thread"), name, check=False)
    assert done.returncode != 0
    assert "data race" in done.stderr.decode()


@dataclass
class Case:
    """One call of the op; boxes and `present` as nested lists."""

    height: int
    width: int
    query_boxes: list
    memory_boxes: list
    present: list | None = None
    semantics: str = "zeroed"
    dtype: torch.dtype = torch.float32
    widths: tuple = WIDTHS[1]
    resident_blocks: int = 4  # of the read; how many a device holds at a time
    seed: int = 0  # of the numbers, and of the order of threads
    key_size: float = 1.0
    gap: int = 0  # elements between one object's part of an array and the next one's
    one_query: bool = False  # for all objects, expanded
    poison: bool = False  # NaN in every cell that no readout depends on

    def tensors(self):
        """Query key, memory key and memory value, each of an object a row."""
        n, frames = len(self.memory_boxes), len(self.memory_boxes[0])
        generator = torch.Generator().manual_seed(self.seed)
        cells, (ck, cv) = self.height * self.width, self.widths

        def random(rows, size, factor):
            values = torch.randn((rows, size + self.gap), generator=generator) * factor
            values[:, size:] = torch.nan
            return values.to(self.dtype)[:, :size]

        query_key = random(1 if self.one_query else n, cells * ck, self.key_size)
        memory_key = random(n, frames * cells * ck, self.key_size)
        memory_value = random(n, frames * cells * cv, 1.0)
        return query_key.expand(n, -1), memory_key, memory_value

    def scale(self):
        return self.widths[0] ** -0.5

    def shown(self):
        return self.present or [[True] * len(boxes) for boxes in self.memory_boxes]

    def reference(self):
        n, frames = len(self.memory_boxes), len(self.memory_boxes[0])
        shapes = [(n, self.height, self.width, self.widths[0])]
        shapes += [(n, frames, self.height, self.width, width) for width in self.widths]
        arrays = [
            tensor.double().numpy().reshape(shape)
            for tensor, shape in zip(self.tensors(), shapes, strict=True)
        ]
        boxes = self.query_boxes, self.memory_boxes
        return reference.regional_read(*arrays, *boxes, self.shown(), self.semantics, self.scale())

    def packed(self):
        """The standard input of run_kernels."""
        n, frames = len(self.memory_boxes), len(self.memory_boxes[0])
        tensors = self.poisoned(self.tensors()) if self.poison else self.tensors()
        parts = [
            struct.pack(
                "14qd",
                *(DTYPES.index(self.dtype), n, frames, self.height, self.width, *self.widths),
                *(tensor.stride(0) for tensor in tensors),
                *(self.present is not None, self.semantics == "zeroed"),
                *(self.resident_blocks, self.seed, self.scale()),
            )
        ]
        for tensor in tensors:
            elements = (n - 1) * tensor.stride(0) + tensor.shape[1]
            parts.append(tensor.as_strided((elements,), (1,)).view(torch.uint8).numpy().tobytes())
        for boxes in (self.query_boxes, self.memory_boxes):
            parts.append(np.array(boxes, dtype=np.int32).tobytes())
        parts.append(np.array(self.present or [], dtype=bool).tobytes())
        return b"".join(parts)

    def poisoned(self, tensors):
        """Copies of the tensors with NaN outside the boxes and in absent frames."""
        rows, columns = np.mgrid[: self.height, : self.width]

        def outside(box):
            x0, y0, x1, y1 = box
            return (columns < x0) | (columns >= x1) | (rows < y0) | (rows >= y1)

        queries = np.array([outside(box) for box in self.query_boxes])
        memory = np.array([[outside(box) for box in boxes] for boxes in self.memory_boxes])
        memory |= ~np.array(self.shown())[:, :, None, None]
        copies = []
        for tensor, mask in zip(tensors, (queries, memory, memory), strict=True):
            cells = torch.from_numpy(mask).flatten(1)
            copy = tensor.clone().unflatten(1, (cells.shape[1], -1))
            copies.append(copy.masked_fill(cells[:, :, None], torch.nan).flatten(1))
        return copies

    def emulated(self, program):
        done = run(program, input=self.packed())
        readout = torch.frombuffer(bytearray(done.stdout), dtype=self.dtype)
        return readout.double().numpy().reshape(-1, self.height, self.width, self.widths[1])

    def compare(self, program, want=None):
        tolerance = TOLERANCE[self.dtype]
        want = self.reference() if want is None else want
        np.testing.assert_allclose(self.emulated(program), want, tolerance, tolerance)


def ragged(height, width, **options):
    """Two objects and three frames: every kind of box, and a frame without the second object."""
    whole, beyond = (0, 0, width, height), (-3, 1, width + 40, height + 9)
    return Case(
        height,
        width,
        query_boxes=[(1, 0, width - 1, height - 1), whole],
        memory_boxes=[[whole, (1, 1, 2, 2), (0, 0, 0, 0)], [(2, 1, width, 3), whole, beyond]],
        present=[[True, True, True], [True, False, True]],
        **options,
    )


@pytest.fixture
def kernels(build):
    return build("run_kernels", "plain")


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_kernels_match_the_loop(kernels, widths, dtype, semantics):
    options = {"gap": 16, "one_query": True, "resident_blocks": 5}
    ragged(5, 7, widths=widths, dtype=dtype, semantics=semantics, **options).compare(kernels)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("query_box", [(0, 0, 6, 5), (2, 1, 3, 2), (3, 3, 3, 5), (5, 3, 6, 5)])
@pytest.mark.parametrize("memory_box", [(0, 0, 6, 5), (2, 1, 3, 2), (4, 4, 2, 2), (5, 3, 6, 5)])
def test_every_kind_of_box(kernels, semantics, query_box, memory_box):
    Case(5, 6, [query_box], [[memory_box] * 2], semantics=semantics).compare(kernels)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_any_number_of_blocks(kernels, dtype, semantics):
    """143 cells: two or three tiles of query rows; 1000 blocks are more than units of work."""
    whole, part = (0, 0, 13, 11), (2, 3, 11, 9)
    case = Case(11, 13, [whole, part, part], [[whole], [part], [part]], dtype=dtype)
    case.semantics = semantics
    want = case.reference()
    for case.resident_blocks in (1, 2, 5, 8, 1000):
        case.compare(kernels, want)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_cells_outside_the_boxes_are_not_read(kernels, dtype, semantics):
    """A bank may have frames that were never written."""
    ragged(5, 7, dtype=dtype, semantics=semantics, poison=True).compare(kernels)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_more_frames_than_lanes(kernels, semantics):
    boxes = [[(t % 3, t % 2, 3, 2) for t in range(70)], [(0, 0, 0, 0)] * 69 + [(0, 0, 3, 1)]]
    present = [[t % 5 != 0 for t in range(70)], [True] * 70]
    Case(2, 3, [(0, 0, 3, 1)] * 2, boxes, present, semantics=semantics).compare(kernels)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_more_objects_than_warps_of_the_plan(kernels, semantics):
    boxes = [(j % 3, 0, 2, 1 + j % 2) for j in range(70)]
    Case(2, 2, boxes, [[b, b] for b in reversed(boxes)], semantics=semantics).compare(kernels)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_an_object_that_no_frame_has(kernels, semantics):
    case = Case(3, 4, [(0, 0, 4, 2)] * 2, [[(0, 0, 4, 3)] * 2] * 2, semantics=semantics)
    case.present = [[False, False], [True, False]]
    case.compare(kernels)
    assert not case.emulated(kernels)[0].any()


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_no_frames(kernels, semantics):
    Case(2, 3, [(0, 0, 3, 1)] * 2, [[], []], semantics=semantics, gap=8).compare(kernels)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_large_scores_do_not_overflow(kernels, dtype, semantics):
    ragged(5, 7, dtype=dtype, semantics=semantics, key_size=8.0).compare(kernels)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_order_of_threads_and_blocks_does_not_show(kernels, dtype):
    case = ragged(4, 5, dtype=dtype)
    packed = bytearray(case.packed())
    readouts = set()
    for seed in range(4):
        struct.pack_into("q", packed, 13 * 8, seed)
        readouts.add(run(kernels, input=bytes(packed)).stdout)
    assert len(readouts) == 1


@st.composite
def cases(draw):
    n, frames = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 7))

    def box():
        xs = sorted(draw(st.tuples(*[st.integers(-1, width + 1)] * 2)))
        ys = sorted(draw(st.tuples(*[st.integers(-1, height + 1)] * 2)))
        return xs[0], ys[0], xs[1], ys[1]

    return Case(
        height,
        width,
        query_boxes=[box() for _ in range(n)],
        memory_boxes=[[box() for _ in range(frames)] for _ in range(n)],
        present=[[draw(st.booleans()) for _ in range(frames)] for _ in range(n)],
        semantics=draw(st.sampled_from(SEMANTICS)),
        dtype=draw(st.sampled_from(DTYPES)),
        resident_blocks=draw(st.integers(1, 9)),
        seed=draw(st.integers(0, 99)),
        key_size=draw(st.sampled_from((0.1, 1.0, 3.0))),
        gap=draw(st.sampled_from((0, 8, 24))),
        one_query=draw(st.booleans()),
    )


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases())
def test_random_cases_match_the_loop(kernels, case):
    case.compare(kernels)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("kind", ["address", "thread"])
def test_sanitizers_find_nothing_in_the_kernels(build, kind, dtype):
    """Few cells, which are what costs time, and six tiles of keys, to use all buffers again."""
    part, whole = (1, 0, 3, 3), (0, 0, 4, 3)
    memory_boxes = [[whole] * 14, [whole, part] * 7]
    options = {"widths": WIDTHS[0], "dtype": dtype, "gap": 8, "resident_blocks": 3}
    Case(3, 4, [part, whole], memory_boxes, **options).compare(build("run_kernels", kind))
