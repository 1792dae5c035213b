"""The catalogue of errors: every message of a public door, and what it advises, run once.

`remedies` holds a row for each message: it provokes the message, then does what the message says.
"""

from importlib import import_module

import pytest

from remedies import ROWS, World, messages

TABLES = (
    "coco", "commands", "compat", "files", "frames", "mask_images", "masks", "options", "prompting",
    "scores", "tracking", "weights",
)  # fmt: skip
for table in TABLES:
    import_module(f"remedies.{table}")

# Reasons that other messages quote, calls that no user makes, and what needs a hub: see test_hub.py.
INSIDE = {
    "cli/track_resume.py": [
        "its mask {} is not the one that was written",
        "its image is not the one that was tracked",
    ],
    "compat/sam2/logits.py": ["the session was started without keep_probabilities"],
    "evaluation/record.py": ["its format_version is not {}"],
    "evaluation/youtube_vos.py": ["not a list of names", "the object {}"],
    "tracking/memory.py": ["the memory is empty; write a frame first"],
    "tracking/session_codec.py": ["{} is not an integer from {} to {}"],
    "tracking/session_file.py": ["its hash differs", "its dtype is {}", "the session {} {}"],
    "weights/hub.py": ["{}: damaged; {}. Write force_download=True to download it again."],
    "weights/files.py": ["its parts are compressed, which torch.save never does"],
}
# Ops have contracts for their callers in this library; the other two have tests of their own.
NO_DOORS = ("__init__.py", "ablations", "demo", "ops")
MESSAGES = messages()

pytestmark = pytest.mark.skipif(not MESSAGES, reason="no checkout: src/rmnet is not here")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.file}: {row.text[:60]}")
def test_the_remedy_of_a_message_is_accepted(row, tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    row.run(world)
    assert world.message is not None
    assert row.matches(world.message), world.message


def told_by(row):
    """Return the messages that a row may be of: the one with just its text, or all that hold it."""
    texts = {one.text for one in MESSAGES if one.file == row.file and row.text in one.text}
    return {row.text} & texts or texts


def test_each_row_is_of_one_message():
    unclear = {f"{row.file}: {row.text}": told_by(row) for row in ROWS if len(told_by(row)) != 1}
    assert unclear == {}


@pytest.mark.parametrize("file", sorted({one.file for one in MESSAGES}))
def test_each_message_of_a_door_has_a_row(file):
    """A new message fails here, until a row in tests/remedies runs its remedy."""
    if file.split("/")[0] in NO_DOORS:
        return
    texts = {one.text for one in MESSAGES if one.file == file}
    rows = set().union(*(told_by(row) for row in ROWS if row.file == file))
    assert texts - rows == set(INSIDE.get(file, ()))
