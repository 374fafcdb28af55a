"""Files on a disk, by the SHA-256 of their bytes (node/files/store.py, incoming.py, uploads.py)."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from node.files.disk import NoRoom, write_whole
from node.files.incoming import Incoming
from node.files.limits import UPLOAD_LIFETIME_MS, UPLOADS_MAX, FileLimits
from node.files.store import FileStore
from node.files.uploads import Uploads
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.values import Digest
from tests.edge.file_samples import PLACE, archive, jpeg, pdf
from tests.edge.hub_lab import LabRandomness
from tests.edge.node_api import MovableClock

ROOM = FileLimits(file_max=1_000_000, store_max=2_000_000, free_min=0)
NAME = "ab" * 16


def digest_of(data: bytes) -> Digest:
    return Digest(sha256(data).digest())


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files", ROOM)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def uploads(store: FileStore, clock: MovableClock) -> Uploads:
    return Uploads(store, clock, LabRandomness(1))


def everything(store: FileStore) -> list[str]:
    return sorted(path.relative_to(store.directory).as_posix() for path in store.directory.rglob("*") if path.is_file())


def test_a_file_stands_under_its_hash_private_and_whole(store: FileStore) -> None:
    stored = store.add([b"one ", b"two"])
    assert stored is not None
    name = sha256(b"one two").hexdigest()
    assert stored.digest.hex() == name
    assert everything(store) == [f"{name[:2]}/{name[2:4]}/{name}"]
    assert store.path_of(stored.digest).read_bytes() == b"one two"
    assert store.path_of(stored.digest).stat().st_mode & 0o777 == 0o400
    assert {folder.stat().st_mode & 0o777 for folder in store.directory.rglob("*") if folder.is_dir()} == {0o700}
    assert store.check(stored.digest) == 7
    assert store.used_bytes() == 7


def test_the_same_file_again_takes_no_more_room(store: FileStore) -> None:
    for _ in range(3):
        store.add([b"same"])
    assert store.totals() == (1, 4)
    assert store.used_bytes() == 4


def test_another_file_than_the_one_that_was_meant_leaves_nothing(store: FileStore) -> None:
    assert store.add([b"other"], digest_of(b"meant")) is None
    assert everything(store) == []


def test_a_damaged_file_is_found_when_it_is_read_and_can_come_again(store: FileStore) -> None:
    stored = store.add([b"a letter"])
    assert stored is not None
    path = store.path_of(stored.digest)
    path.chmod(0o600)
    path.write_bytes(b"a lettes")
    with pytest.raises(Corrupt, match="damaged"):
        store.check(stored.digest)
    assert store.check(stored.digest) is None
    store.add([b"a letter"])
    assert store.check(stored.digest) == 8
    assert store.remove(stored.digest)
    assert everything(store) == []


def test_a_file_cut_short_on_the_disk_is_written_anew(store: FileStore) -> None:
    stored = store.add([b"a letter"])
    assert stored is not None
    path = store.path_of(stored.digest)
    path.chmod(0o600)
    path.write_bytes(b"a let")
    store.add([b"a letter"])
    assert store.check(stored.digest) == 8


def test_a_disk_that_is_nearly_full_takes_no_file_and_keeps_its_room(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files", FileLimits(free_min=2**62))
    with pytest.raises(NoRoom, match="nearly full"):
        store.check_room(1)
    with pytest.raises(NoRoom):
        store.add([b"one"])
    with pytest.raises(NoRoom):
        Incoming(store).append(NAME, 0, b"one", 3)
    assert everything(store) == []


def test_a_copy_that_a_dying_process_left_is_swept(store: FileStore) -> None:
    def torn() -> Iterator[bytes]:
        yield b"half"
        assert list((store.directory / "incoming").glob("*.new"))  # it is there while it is written
        yield b"whole"

    store.add(torn())
    left = store.directory / "incoming" / f"{NAME}.new"
    left.write_bytes(b"half")
    assert store.sweep_copies(time.time() - 60) == 0
    os.utime(left, (1, 1))
    assert store.sweep_copies(time.time() - 60) == 1
    assert not left.exists()


def test_a_small_file_that_a_full_disk_cuts_off_is_what_it_was_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "list.json"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_whole(target, b"before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(target, b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("list.json", b"before")]
    write_whole(target, b"after")
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"after", 0o600)


def test_bytes_are_taken_at_the_offset_and_nowhere_else(store: FileStore) -> None:
    incoming = Incoming(store)
    assert incoming.append(NAME, 0, b"abc", 6) == 3
    for wrong in (0, 2, 4, 6):
        with pytest.raises(Refused) as refused:
            incoming.append(NAME, wrong, b"x", 6)
        assert (refused.value.kind, refused.value.members) == ("wrong-offset", {"offset": 3})
    with pytest.raises(Refused) as refused:
        incoming.append(NAME, 3, b"defg", 6)
    assert refused.value.kind == "too-large"
    assert incoming.append(NAME, 3, b"def", 6) == 6
    with incoming.opened(NAME) as data:
        assert data[:] == b"abcdef"


def test_of_many_that_send_the_same_piece_at_once_one_is_taken(store: FileStore) -> None:
    incoming, refused, taken = Incoming(store), list[Refused](), list[int]()
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        try:
            taken.append(incoming.append(NAME, 0, b"x" * 5_000, 5_000))
        except Refused as error:
            refused.append(error)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [5_000]
    assert {error.members["offset"] for error in refused} == {5_000}
    assert len(refused) == 7


def send_all(uploads: Uploads, data: bytes, media_type: str | None = None, digest: Digest | None = None) -> str:
    upload = uploads.begin("desk", len(data), media_type, digest)
    uploads.append(upload, 0, data)
    done = uploads.finish(upload)
    assert done.file is not None
    return done.file


def test_an_upload_is_kept_without_its_place_under_the_hash_of_what_is_kept(uploads: Uploads) -> None:
    data = jpeg()
    file = Digest.parse(send_all(uploads, data, "image/jpeg", digest_of(data)))
    kept = uploads.store.path_of(file).read_bytes()
    assert digest_of(kept) == file
    assert PLACE not in kept
    assert not list((uploads.store.directory / "incoming").glob("*.part"))


def test_an_upload_that_was_cut_anywhere_goes_on_from_there(store: FileStore, clock: MovableClock) -> None:
    data = jpeg()
    hashes = set()
    for cut in (*range(12), *range(12, len(data), 41), len(data) - 1, len(data)):
        uploads = Uploads(store, clock, LabRandomness(cut))
        upload = uploads.begin("desk", len(data), None, digest_of(data))
        if cut:
            uploads.append(upload, 0, data[:cut])
        again = Uploads(store, clock, LabRandomness(0))  # another process
        found = again.find("desk", upload.id)
        assert again.offset(found) == cut
        again.append(
            found,
            cut,
            data[cut:],
        )
        hashes.add(again.finish(found).file)
    assert len(hashes) == 1


def test_an_upload_that_was_whole_when_its_process_died_is_finished_by_the_next_question(
    uploads: Uploads, store: FileStore, clock: MovableClock
) -> None:
    data = pdf()
    upload = uploads.begin("desk", len(data), None, None)
    uploads.append(upload, 0, data)
    again = Uploads(store, clock, LabRandomness(5))
    done = again.finish(again.find("desk", upload.id))
    assert done.file == digest_of(data).b64u
    assert again.finish(done) == done
    assert again.offset(done) == len(data)


def test_bytes_that_are_not_the_announced_ones_leave_nothing(uploads: Uploads) -> None:
    data = pdf()
    upload = uploads.begin("desk", len(data), None, digest_of(b"another"))
    uploads.append(upload, 0, data)
    with pytest.raises(Refused) as refused:
        uploads.finish(upload)
    assert refused.value.kind == "file-differs"
    assert everything(uploads.store) == []


def test_a_lie_about_the_type_is_told_before_the_rest_is_sent(uploads: Uploads) -> None:
    upload = uploads.begin("desk", 900_000, "image/jpeg", None)
    with pytest.raises(Refused) as refused:
        uploads.append(upload, 0, archive() + bytes(10_000))
    assert refused.value.kind == "file-type"
    with pytest.raises(Refused, match="no such upload"):
        uploads.find("desk", upload.id)
    assert everything(uploads.store) == []


def test_a_lie_that_shows_only_in_the_whole_leaves_nothing(uploads: Uploads) -> None:
    data = pdf() + archive()
    upload = uploads.begin("desk", len(data), "application/pdf", digest_of(data))
    uploads.append(upload, 0, data)
    with pytest.raises(Refused, match="archive"):
        uploads.finish(upload)
    assert everything(uploads.store) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "ab" * 15, "AB" * 16, "ab" * 16 + "/x", "ab" * 15 + ".."]
)
def test_no_name_from_outside_becomes_a_path(uploads: Uploads, name: str) -> None:
    with pytest.raises(Refused, match="no such upload"):
        uploads.find("desk", name)


def test_an_upload_is_nobodys_but_its_clients(uploads: Uploads) -> None:
    upload = uploads.begin("desk", 10, None, None)
    assert uploads.find("desk", upload.id) == upload
    with pytest.raises(Refused, match="no such upload"):
        uploads.find("web", upload.id)


def test_what_is_set_aside_for_files_counts_what_is_begun(uploads: Uploads) -> None:
    uploads.begin("desk", 1_000_000, None, None)
    uploads.begin("desk", 900_000, None, None)
    with pytest.raises(NoRoom, match="used up"):
        uploads.begin("web", 200_000, None, None)


def test_a_client_that_begins_and_never_finishes_is_told_to_stop(uploads: Uploads) -> None:
    for _ in range(UPLOADS_MAX):
        uploads.begin("desk", 10, None, None)
    with pytest.raises(Refused) as refused:
        uploads.begin("desk", 10, None, None)
    assert refused.value.kind == "too-many-uploads"
    uploads.begin("web", 10, None, None)


@pytest.mark.parametrize(("length", "kind"), [(0, "malformed"), (1_000_001, "too-large"), (2**60, "too-large")])
def test_a_length_that_no_file_may_have_is_refused(uploads: Uploads, length: int, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        uploads.begin("desk", length, None, None)
    assert refused.value.kind == kind


def test_what_nobody_finishes_is_swept_and_what_was_finished_stays(uploads: Uploads, clock: MovableClock) -> None:
    kept = send_all(uploads, pdf())
    upload = uploads.begin("desk", 100, None, None)
    uploads.append(upload, 0, b"%PDF-")
    assert uploads.sweep() == 0
    clock.later_ms = UPLOAD_LIFETIME_MS + 1_000
    assert uploads.sweep() == 2
    with pytest.raises(Refused, match="no such upload"):
        uploads.find("desk", upload.id)
    assert uploads.store.check(Digest.parse(kept)) is not None
    assert len(everything(uploads.store)) == 1


def test_a_damaged_record_is_as_good_as_none(uploads: Uploads) -> None:
    upload = uploads.begin("desk", 100, None, None)
    uploads.incoming.path(upload.id, ".json").write_bytes(b'{"id":')
    with pytest.raises(Refused, match="no such upload"):
        uploads.find("desk", upload.id)
    uploads.begin("desk", 100, None, None)
