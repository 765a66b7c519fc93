import os
import shutil
import subprocess
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
import torf

from tests.support.torrents import payload_of, piece_hashes
from torrent_engine.base.config import BencodeLimits
from torrent_engine.base.errors import ConfigError, MetainfoError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create import create as creating
from torrent_engine.disk.create import hashing as payload_hash
from torrent_engine.disk.create.create import (
    CreateOptions,
    TorrentFormat,
    auto_aligned_piece_bytes,
    auto_piece_bytes,
    create_torrent,
)
from torrent_engine.disk.create.scan import ScanRules

KIB = 1024
MIB = 1024 * KIB

V1 = CreateOptions(format="v1")


def make_folder(root: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


FILES = {
    "b/two.bin": payload_of(700 * KIB, 2),
    "a.bin": payload_of(300 * KIB + 17, 1),
    "b/one": b"",
    "Z": payload_of(5, 3),
    "b.txt": payload_of(40 * KIB, 4),
    "\u00fc/deep/er": payload_of(1, 5),
}


def test_bep3_folder_becomes_sorted_files(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", FILES)
    metainfo = Metainfo.from_bytes(create_torrent([folder], V1))
    paths = ["/".join(entry.path) for entry in metainfo.files]
    order = ["Z", "a.bin", "b/one", "b/two.bin", "b.txt", "\u00fc/deep/er"]
    assert paths == [f"set/{path}" for path in order]
    payload = b"".join(FILES[path] for path in order)
    assert metainfo.piece_hashes == piece_hashes(payload, metainfo.geometry.piece_bytes)


def test_bep3_file_becomes_a_single_file_torrent(tmp_path: Path) -> None:
    data = payload_of(100 * KIB)
    path = make_folder(tmp_path, {"film.mkv": data}) / "film.mkv"
    metainfo = Metainfo.from_bytes(create_torrent([str(path)]))
    assert not metainfo.is_multi_file
    assert (metainfo.name, metainfo.total_bytes) == ("film.mkv", 100 * KIB)
    assert metainfo.piece_hashes == piece_hashes(data)


def test_bep3_folder_with_one_file_stays_a_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"x": b"1"})
    metainfo = Metainfo.from_bytes(create_torrent([folder]))
    assert metainfo.is_multi_file
    assert metainfo.files[0].path == ("set", "x")


def test_several_paths_become_one_torrent_named_after_their_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", FILES)
    paths = [folder / "b", folder / "a.bin"]
    metainfo = Metainfo.from_bytes(create_torrent(paths))
    assert [entry.path for entry in metainfo.files if not entry.is_pad] == [
        ("set", "a.bin"),
        ("set", "b", "one"),
        ("set", "b", "two.bin"),
    ]
    named = Metainfo.from_bytes(create_torrent(paths, CreateOptions(name="other")))
    assert named.name == "other"


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("v1", {b"announce", b"info"}),
        ("v2", {b"announce", b"info", b"piece layers"}),
        ("hybrid", {b"announce", b"info", b"piece layers"}),
    ],
)
def test_same_input_gives_the_same_bytes(
    kind: TorrentFormat, keys: set[bytes], tmp_path: Path
) -> None:
    one = make_folder(tmp_path / "1" / "set", FILES)
    two = make_folder(tmp_path / "2" / "set", dict(reversed(FILES.items())))
    options = CreateOptions(threads=1, tiers=(("http://t/",),), format=kind)
    first = create_torrent([one], options)
    assert create_torrent([two], replace(options, threads=3)) == first
    assert set(decode(first)) == keys  # type: ignore[arg-type]


def test_bep52_a_hybrid_is_made_by_default(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", FILES)
    made = create_torrent(folder)
    assert made == create_torrent(folder, CreateOptions(format="hybrid"))
    metainfo = Metainfo.from_bytes(made)
    assert metainfo.is_hybrid
    assert metainfo.content_bytes == sum(map(len, FILES.values()))


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("piece_bytes", [16 * KIB, 48 * KIB, 256 * KIB, 4 * MIB])
def test_bep3_pieces_over_batches_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, threads: int
) -> None:
    monkeypatch.setattr(payload_hash, "_BATCH_BYTES", 2 * MIB)
    found, expected, told = create(tmp_path, piece_bytes, threads, batch_bytes=2 * MIB)
    assert found == expected
    assert told == sorted(told)
    assert told[-1] == (5 * MIB + 9, 5 * MIB + 9)


def test_bep3_pieces_over_batches_of_the_real_size(tmp_path: Path) -> None:
    found, expected, told = create(tmp_path, 256 * KIB, 2, batch_bytes=16 * MIB)
    assert found == expected
    assert told[-1] == (33 * MIB + 9, 33 * MIB + 9)


def create(
    tmp_path: Path, piece_bytes: int, threads: int, *, batch_bytes: int
) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """Create a torrent of a file a bit over a batch, a tiny one and another large one.

    Returns its hashes, what they should be, and what was told of progress.
    """
    files = {
        "a": payload_of(batch_bytes + MIB + 5),
        "b": payload_of(3),
        "c": payload_of(batch_bytes + 1, 1),
    }
    folder = make_folder(tmp_path / "set", files)
    told: list[tuple[int, int]] = []
    options = CreateOptions(piece_bytes=piece_bytes, threads=threads, format="v1")
    data = create_torrent([folder], options, lambda *progress: told.append(progress))
    payload = b"".join(files.values())
    return Metainfo.from_bytes(data).piece_hashes, piece_hashes(payload, piece_bytes), told


def test_bep12_bep19_bep27_options_are_in_the_torrent(tmp_path: Path) -> None:
    path = make_folder(tmp_path, {"x": b"x"}) / "x"
    options = CreateOptions(
        tiers=(("http://a/", "udp://b:1/"), (), ("https://c/",)),
        web_seeds=("http://w/x",),
        is_private=True,
        comment="why",
        created_by="me",
        creation_time_s=7,
        source="tag",
        similar=(InfoHash(b"s" * 20),),
        collections=("com.example.one", "zwei"),
    )
    data = create_torrent([path], options)
    metainfo = Metainfo.from_bytes(data)
    assert metainfo.tiers == (("http://a/", "udp://b:1/"), ("https://c/",))
    assert metainfo.web_seeds == ("http://w/x",)
    assert metainfo.is_private
    assert (metainfo.comment, metainfo.created_by, metainfo.creation_time_s) == ("why", "me", 7)
    assert b"6:source3:tag" in metainfo.info_bytes
    assert metainfo.similar.info_hashes == (b"s" * 20,)
    assert metainfo.similar.collections == ("com.example.one", "zwei")
    assert b"7:similarl20:" in metainfo.info_bytes
    decode(data, canonical=True)


SIZES = {
    1: 16 * KIB,
    16 * KIB * 2048: 16 * KIB,
    16 * KIB * 2048 + 1: 32 * KIB,
    1024 * MIB: 512 * KIB,
    2048 * MIB: MIB,
    10**14: 16 * MIB,
}


@pytest.mark.parametrize(("total", "piece_bytes"), SIZES.items())
def test_automatic_piece_size(total: int, piece_bytes: int) -> None:
    assert auto_piece_bytes(total) == piece_bytes


ALIGNED: list[tuple[list[int], int]] = [
    ([], 16 * KIB),
    ([16 * KIB * 2048], 16 * KIB),
    ([16 * KIB * 2048 + 1], 32 * KIB),
    ([1024 * MIB, 0], 512 * KIB),
    ([16 * KIB * 2047, 1], 16 * KIB),
    ([16 * KIB * 2048, 1], 32 * KIB),
    ([4_000] * 100_000, 16 * KIB),  # 256 KiB by their sum alone: 24 GiB of pads
    ([1_000_000] * 10_000, 512 * KIB),
    ([10**14], 16 * MIB),
]


@pytest.mark.parametrize(("lengths", "piece_bytes"), ALIGNED)
def test_bep52_automatic_piece_size_counts_the_pieces_of_each_file(
    lengths: list[int], piece_bytes: int
) -> None:
    assert auto_aligned_piece_bytes(lengths) == piece_bytes


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
def test_bep52_small_files_get_small_pieces(kind: TorrentFormat, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "many", {f"{number}": b"1" for number in range(10)})
    (folder / "large").write_bytes(bytes(16 * KIB * 2039))
    made = create_torrent([folder], CreateOptions(format=kind))
    assert Metainfo.from_bytes(made).geometry.piece_bytes == 32 * KIB
    (folder / "0").unlink()
    made = create_torrent([folder], CreateOptions(format=kind))
    assert Metainfo.from_bytes(made).geometry.piece_bytes == 16 * KIB


def test_a_torrent_that_we_would_refuse_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_bytes(b"1")
    monkeypatch.setattr(creating, "encode", lambda value: encode({**value, "info": 1}))
    with pytest.raises(MetainfoError):
        create_torrent(tmp_path / "one")


BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "piece_size_zero": {"piece_bytes": 0},
    "piece_size_small": {"piece_bytes": 8 * KIB},
    "piece_size_odd": {"piece_bytes": 20_000},
    "piece_size_large": {"piece_bytes": 256 * MIB},
    "no_threads": {"threads": 0},
    "date_before_1970": {"creation_time_s": -1},
    "tracker_without_scheme": {"tiers": (("tracker.example",),)},
    "tracker_with_newline": {"tiers": (("http://a/\n",),)},
    "tracker_is_a_file": {"tiers": (("file:///x",),)},
    "web_seed_udp": {"web_seeds": ("udp://x/",)},
    "name_empty": {"name": ""},
    "name_dot_dot": {"name": ".."},
    "name_slash": {"name": "a/b"},
    "similar_of_32_bytes": {"similar": (bytes(32),)},
    "similar_too_many": {"similar": (bytes(20),) * 1001},
    "collection_empty": {"collections": ("",)},
    "collection_long": {"collections": ("ä" * 128,)},
    "collection_with_newline": {"collections": ("a\nb",)},
}


@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_bad_option_is_a_config_error(tmp_path: Path, options: dict[str, Any]) -> None:
    path = make_folder(tmp_path, {"x": b"x"}) / "x"
    with pytest.raises(ConfigError):
        create_torrent([path], CreateOptions(**options))


def test_nothing_to_share_is_a_config_error(tmp_path: Path) -> None:
    empty = make_folder(tmp_path / "set", {"x": b""})
    (tmp_path / "bare").mkdir()
    for paths in ([], [empty], [empty / "x"], [tmp_path / "bare"]):
        with pytest.raises(ConfigError):
            create_torrent(paths)


def test_same_name_twice_is_a_config_error(tmp_path: Path) -> None:
    make_folder(tmp_path, {"1/x": b"1", "2/x": b"2"})
    options = CreateOptions(name="both")
    with pytest.raises(ConfigError, match="more than once"):
        create_torrent([tmp_path / "1" / "x", tmp_path / "2" / "x"], options)
    with pytest.raises(ConfigError, match="name"):  # and none that could be taken for all
        create_torrent([tmp_path / "1" / "x", tmp_path / "2"])


ODD_NAMES = (
    b"new\nline",
    b"caf\xe9",
    b"back\\slash",
    b"esc\x1b[2J",
    b"x" * 255,
    b"_",
    b"~",
    b" spaces ",
    b"-rf",
    b"con",
    b"dots...",
    b"100%d",
    "\U0001f468\u200d\U0001f469".encode(),
    "\u0645\u06cc\u200c\u062e".encode(),
)


def test_every_name_of_the_file_system_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "_", {})
    folder.mkdir()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"1")
    metainfo = Metainfo.from_bytes(create_torrent([folder]))
    assert metainfo.name == "_"
    entries = (entry for entry in metainfo.files if not entry.is_pad)
    assert [entry.raw_path for entry in entries] == [(b"_", n) for n in sorted(ODD_NAMES)]
    folder = folder.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert Metainfo.from_bytes(create_torrent([folder])).files[0].raw_path[0] == b"caf\xe9"


def scanned(folder: Path, **rules: Any) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Return the files of a torrent of a folder, what was left out, and links that lead out."""
    left_out: dict[str, str] = {}
    links_out: dict[str, str] = {}
    chosen = ScanRules(on_left_out=left_out.__setitem__, on_link_out=links_out.__setitem__, **rules)
    metainfo = Metainfo.from_bytes(create_torrent([folder], rules=chosen))
    names = ["/".join(entry.path[1:]) for entry in metainfo.files if not entry.is_pad]
    below = [
        {os.path.relpath(path, folder): text for path, text in each.items()}
        for each in (left_out, links_out)
    ]
    return names, below[0], below[1]


GLOBBED = {
    "a_name_anywhere": ({"exclude": ("*.tmp",)}, ["a.mkv", "s/.git/x", "s/b.mkv"]),
    "a_folder": ({"exclude": (".git/",)}, ["a.mkv", "c.tmp", "s/b.mkv", "s/d.tmp"]),
    "a_path": ({"exclude": ("s/*.tmp",)}, ["a.mkv", "c.tmp", "s/.git/x", "s/b.mkv"]),
    "only": ({"include": ("*.mkv",)}, ["a.mkv", "s/b.mkv"]),
    "only_a_folder": ({"include": ("s",)}, ["s/.git/x", "s/b.mkv", "s/d.tmp"]),
    "both": ({"include": ("s/*",), "exclude": ("*.tmp", ".git")}, ["s/b.mkv"]),
}


@pytest.mark.parametrize(("rules", "expected"), GLOBBED.values(), ids=GLOBBED)
def test_globs_choose_the_files_and_the_others_are_listed(
    tmp_path: Path, rules: dict[str, Any], expected: list[str]
) -> None:
    every = ["a.mkv", "c.tmp", "s/.git/x", "s/b.mkv", "s/d.tmp"]
    folder = make_folder(tmp_path / "set", dict.fromkeys(every, b"1"))
    names, left_out, _ = scanned(folder, **rules)
    assert names == expected
    missing = set(every) - set(names)
    assert all(
        any(path == out or path.startswith(f"{out}/") for out in left_out) for path in missing
    )
    assert not set(left_out) & set(names)


def test_the_output_is_no_part_of_itself(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"x": b"1", "old.torrent": b"2", "o.torrent": b"3"})
    (tmp_path / "alias").symlink_to(folder)
    names, left_out, _ = scanned(folder, output=tmp_path / "alias" / "o.torrent")
    assert names == ["old.torrent", "x"]
    assert list(left_out) == ["o.torrent"]


def test_a4_torrent_that_nobody_would_load_is_refused_before_hashing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = BencodeLimits(max_bytes=10 * MIB)
    monkeypatch.setattr("torrent_engine.disk.create.create.FILE_BENCODE_LIMITS", small)
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(16 * KIB * 600_000)
    with pytest.raises(ConfigError, match="bytes, more than"):
        create_torrent([path], CreateOptions(piece_bytes=16 * KIB))
    os.truncate(path, 16 * KIB * (2**21 + 1))
    with pytest.raises(ConfigError, match="pieces"):
        create_torrent([path], CreateOptions(piece_bytes=16 * KIB))


def test_missing_file_is_a_storage_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none"):
        create_torrent([tmp_path / "none"])


def test_what_is_neither_file_nor_folder_is_left_out(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"x": b"1"})
    os.mkfifo(folder / "pipe")
    names, left_out, _ = scanned(folder)
    assert (names, left_out) == (["x"], {"pipe": "neither a file nor a folder"})
    with pytest.raises(StorageError, match="pipe"):
        create_torrent([folder / "pipe"])


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"x": b"1", "in/z": b"1"})
    make_folder(tmp_path / "far", {"y": b"22"})
    (folder / "link").symlink_to(tmp_path / "far")
    (folder / "near").symlink_to("in/z")
    (folder / "in" / "loop").symlink_to(folder)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "itself").symlink_to("itself")
    names, left_out, links_out = scanned(folder)
    assert names == ["in/z", "link/y", "near", "x"]
    assert set(left_out) == {"in/loop", "dangling", "itself"}
    assert links_out == {"link": str(tmp_path / "far")}
    names, left_out, links_out = scanned(folder, follow_links=False)
    assert names == ["in/z", "x"]
    assert set(left_out) == {"in/loop", "dangling", "itself", "link", "near"}
    assert links_out == {}


def test_folders_too_deep_are_a_storage_error(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("set", *["d"] * 101)
    deep.mkdir(parents=True)
    with pytest.raises(StorageError, match="100 folders"):
        create_torrent([tmp_path / "set"])


@pytest.mark.parametrize("size", [10, 40 * MIB])
def test_file_that_changes_meanwhile_is_a_storage_error(tmp_path: Path, size: int) -> None:
    folder = make_folder(tmp_path / "set", {"a": payload_of(40 * MIB), "b": b"x" * 20})

    def change(_done: int, _total: int) -> None:
        os.truncate(folder / "a", size - 1)
        os.truncate(folder / "b", 10)

    with pytest.raises(StorageError, match="changed"):
        create_torrent([folder], CreateOptions(threads=1), change)


def test_progress_that_raises_ends_the_work(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"a": payload_of(40 * MIB)})

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_torrent([folder], on_progress=stop)


def test_torf_makes_the_same_info_hash(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", FILES)
    theirs = torf.Torrent(folder, piece_size=32 * KIB)
    theirs.generate(threads=1)
    ours = Metainfo.from_bytes(
        create_torrent([folder], CreateOptions(piece_bytes=32 * KIB, format="v1"))
    )
    assert sorted(entry.path for entry in ours.files) == sorted(
        tuple(file.parts) for file in theirs.files
    )
    single = make_folder(tmp_path, {"x": payload_of(99_999)}) / "x"
    theirs = torf.Torrent(single, piece_size=32 * KIB)
    theirs.generate(threads=1)
    ours = Metainfo.from_bytes(
        create_torrent([single], CreateOptions(piece_bytes=32 * KIB, format="v1"))
    )
    assert ours.info_hash.hex() == theirs.infohash


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("mktorrent") is None, reason="needs the package mktorrent")
def test_mktorrent_makes_the_same_info_dictionary(tmp_path: Path) -> None:
    single = make_folder(tmp_path, {"x": payload_of(3 * MIB + 1)}) / "x"
    out = tmp_path / "x.torrent"
    subprocess.run(["mktorrent", "-l", "18", "-o", out, single], check=True, capture_output=True)
    ours = Metainfo.from_bytes(
        create_torrent([single], CreateOptions(piece_bytes=256 * KIB, format="v1"))
    )
    assert ours.info_hash == Metainfo.read(out).info_hash == sha1(ours.info_bytes).digest()


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_bep47_executable_files_are_marked_and_others_unchanged(
    tmp_path: Path, kind: TorrentFormat
) -> None:
    folder = make_folder(tmp_path / "set", {"run": payload_of(50_000, 1), "text": b"text"})
    plain = create_torrent([folder], CreateOptions(format=kind))
    (folder / "run").chmod(0o744)
    marked = create_torrent([folder], CreateOptions(format=kind))
    is_executable = {e.path[-1]: e.is_executable for e in Metainfo.from_bytes(marked).files}
    assert is_executable["run"]
    assert not is_executable["text"]
    assert create_torrent([folder], CreateOptions(format=kind, attributes=False)) == plain
    (folder / "run").chmod(0o677)  # for others only
    assert create_torrent([folder], CreateOptions(format=kind)) == plain


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_bep47_a_single_file_is_marked(tmp_path: Path, kind: TorrentFormat) -> None:
    (tmp_path / "run").write_bytes(payload_of(50_000))
    (tmp_path / "run").chmod(0o755)
    made = Metainfo.from_bytes(create_torrent([tmp_path / "run"], CreateOptions(format=kind)))
    assert [entry.is_executable for entry in made.files] == [True]


def test_a_name_that_is_too_long_is_an_error_of_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        create_torrent(tmp_path / ("n" * 300))
