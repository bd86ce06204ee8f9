"""Pictures of every kind that a folder may hold come out as upright RGB, or are refused by name."""

from __future__ import annotations

import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from knight.errors import ConfigError, DataError
from knight.tasks._pictures import find_pictures, load_picture, picture_size

CORNERS = np.array(
    [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]], [[0, 0, 0], [9, 9, 9]]], np.uint8
)
"""3 high, 2 wide, no two pixels alike."""


@pytest.fixture
def corners() -> Image.Image:
    return Image.fromarray(CORNERS)


def test_pictures_are_found_by_their_suffix_and_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.Jpeg", "d.bmp", "x.txt", "y.npy", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_pictures(tmp_path)] == ["a.png", "b.JPG", "c.Jpeg", "d.bmp"]


def test_without_pictures_of_its_own_a_folder_gives_those_of_its_sub_folders(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/2.png", "cat/10.png", "cat/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    relative = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert relative == ["cat/10.png", "cat/2.png", "dog/1.png"]


def test_a_folder_without_pictures_is_refused_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="but nothing"):
        find_pictures(tmp_path)
    for name in ("1.npy", "2.npy", "README"):
        (tmp_path / name).touch()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    with pytest.raises(DataError, match=r"but 2 \.npy, 1 without a suffix, 1 folder"):
        find_pictures(tmp_path)
    with pytest.raises(DataError, match=r"1\.npy: this is a file"):
        find_pictures(tmp_path / "1.npy")
    with pytest.raises(DataError, match="gone: there is no such folder"):
        find_pictures(tmp_path / "gone")


@pytest.mark.parametrize("name", ["x.png", "x.bmp"])
def test_rgb_comes_out_as_it_is(tmp_path: Path, corners: Image.Image, name: str) -> None:
    corners.save(tmp_path / name)
    loaded = load_picture(tmp_path / name)
    assert loaded.dtype == np.uint8
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, CORNERS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Each orientation is stated in the EXIF standard by where the stored row 0 and column 0 are seen."""
    stored_as: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: np.rot90,
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(stored_as[orientation](CORNERS))
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(load_picture(tmp_path / "x.png"), CORNERS)
    assert picture_size(tmp_path / "x.png") == (3, 2)


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(tmp_path / "x.png")
    loaded = load_picture(tmp_path / "x.png")
    np.testing.assert_array_equal(loaded, np.array([[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]))


def test_grey_bilevel_and_palette(tmp_path: Path, corners: Image.Image) -> None:
    Image.fromarray(np.array([[7, 200]], np.uint8)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "grey.png"), [[[7] * 3, [200] * 3]])
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "two.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "two.png"), [[[255] * 3, [0] * 3]])
    corners.quantize(6).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "palette.png"), CORNERS)


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [100, 0, 50, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    expected = rgba[..., :3] * (rgba[..., 3:] / 255) + 255 * (1 - rgba[..., 3:] / 255)
    np.testing.assert_allclose(load_picture(tmp_path / "rgba.png"), expected, atol=1)
    Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "la.png"), [[[10] * 3, [255] * 3]])
    Image.fromarray(np.array([[10, 20]], np.uint8)).save(tmp_path / "key.png", transparency=20)
    np.testing.assert_array_equal(load_picture(tmp_path / "key.png"), [[[10] * 3, [255] * 3]])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (255, 0, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    green = load_picture(tmp_path / "x.jpg")
    assert green.shape == (8, 8, 3)
    np.testing.assert_allclose(green, np.broadcast_to([0, 255, 0], (8, 8, 3)), atol=2)


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "x.png"), [[[1, 2, 3]]])


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"x\.{suffix}: .*cut or damaged"):
        load_picture(path)
    for keep in (0, 1, 9, 20, 30):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match=rf"x\.{suffix}: "):
            load_picture(path)


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"x\.jpg: its 16 bytes are no BMP, JPEG or PNG"):
        load_picture(tmp_path / "x.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: the picture cannot be read"):
        load_picture(tmp_path / "gone.jpg")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(b"\0")
    chunk += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    for function in (load_picture, picture_size):
        with pytest.raises(DataError, match=r"x\.png: .*over 100 million pixels are not loaded"):
            function(tmp_path / "x.png")


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"pip install knight-quant\[pictures\]"):
        load_picture(tmp_path / "x.png")


def test_real_pictures_have_the_size_that_their_head_says(kit: Path) -> None:
    pictures = find_pictures(kit / "images" / "coco20")
    assert len(pictures) == 10
    for path in pictures:
        assert load_picture(path).shape == (*picture_size(path), 3)


@pytest.mark.parametrize("place", [b"IDAT", b"tEXt"])
def test_a_head_that_promises_gigabytes_costs_none(
    place: bytes, corners: Image.Image, tmp_path: Path
) -> None:
    """Python's own files set aside what they are asked to read before they look how much there is."""
    info = PngInfo()
    info.add_text("a", "b")
    corners.save(tmp_path / "a.png", pnginfo=info)
    content = bytearray((tmp_path / "a.png").read_bytes())
    start = content.index(place)
    content[start - 4 : start] = struct.pack(">I", 2**31 - 1)
    (tmp_path / "a.png").write_bytes(content)
    tracemalloc.start()
    try:
        for read in (picture_size, load_picture):
            with pytest.raises(DataError, match=r"a\.png: "):
                read(tmp_path / "a.png")
                raise DataError(f"{tmp_path / 'a.png'}: could be read")  # zlib had all that it needs
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
