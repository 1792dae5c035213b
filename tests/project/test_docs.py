"""The documentation: links resolve, nothing is left unfinished, and the snippets run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rmnet.demo import make_clip
from rmnet.io import VideoWriter, write_label_png

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("training/*.md")])
DOCS = [page for page in PAGES if ROOT / "docs" in page.parents]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(
    r"(?P<mark><!-- not run -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
COLUMNS = 100


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page's text without its code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def snippets(page: Path, *, run: bool) -> list[str]:
    """Return the Python blocks of a page, padded so that tracebacks show the page's line numbers.

    Args:
        page: A Markdown file.
        run: Whether to leave out blocks marked `<!-- not run -->`.
    """
    text = page.read_text(encoding="utf-8")
    return [
        "\n" * text[: block.start("text")].count("\n") + block["text"]
        for block in FENCE.finditer(text)
        if block["language"] == "python" and not (run and block["mark"])
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    targets = [link.partition("#")[0] for link in LINK.findall(prose(page)) if "://" not in link]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_nothing_is_left_unfinished(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"\bTODO\b|\bTBD\b|\bFIXME\b|\bXXX", text) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_anchors_between_pages_exist(page):
    for target, anchor in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        other = prose(page.parent / target if target else page)
        headings = re.findall(r"^#+ (.+)$", other, flags=re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{target}#{anchor}"


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_prose_is_wrapped(page):
    lines = prose(page).splitlines()
    # Table rows, images, indented code and long addresses cannot be broken.
    unbreakable = re.compile(r"^\s*(\||!\[)|^\s{4}|https?://\S{40}")
    assert [x for x in lines if len(x) > COLUMNS and not unbreakable.search(x)] == []


def test_the_map_names_every_page():
    linked = {link.partition("#")[0] for link in LINK.findall(prose(ROOT / "docs" / "README.md"))}
    pages = {str(p.relative_to(ROOT / "docs")) for p in DOCS}
    assert pages - {"README.md"} - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_snippets_compile(page):
    for code in snippets(page, run=False):
        compile(code, str(page), "exec")


@pytest.mark.parametrize(
    "page", [page for page in (ROOT / "README.md", *GUIDE) if snippets(page, run=True)], ids=name
)
def test_snippets_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    blocks = snippets(page, run=True)
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    make_dog()
    names: dict[str, object] = {"__name__": "snippet"}
    for code in blocks:
        exec(compile(code, str(page), "exec"), names)


def make_dog() -> None:
    """Write the files that snippets read: `dog.mp4`, `frames/`, and the first mask, `dog.png`."""
    clip = make_clip(num_frames=10, size=(120, 214))
    Path("frames").mkdir()
    with VideoWriter(Path("dog.mp4"), frames_per_second=24) as writer:
        for number, frame in enumerate(clip.frames):
            writer.write(frame, None)
            Image.fromarray(frame).save(f"frames/{number:05d}.png")
    write_label_png(Path("dog.png"), clip.labels[0], object_ids=(1, 2, 3))
    assert np.unique(clip.labels[0]).tolist() == [0, 1, 2, 3]
