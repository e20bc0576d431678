"""Remote folders, against a real S3 server on this machine (moto's, a process of its own)."""

import _thread
import importlib.util
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from forked_command import Forked, command

from skyclone.cli import main
from skyclone.datasets.conversion import convert
from skyclone.datasets.dataset import open_dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError, StorageError
from skyclone.datasets.files import shards, storage
from skyclone.datasets.files.atomic import clean, publish
from skyclone.datasets.files.manifest import Manifest, load_manifest, save_manifest
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.storage import RemoteFolder, as_folder, sizes
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import Table

Fill = Callable[..., DatasetWriter]
MakeManifest = Callable[..., Manifest]


# --- names ------------------------------------------------------------------------------------------------


def test_a_folder_is_a_path_or_an_address() -> None:
    assert as_folder("data/mvp") == Path("data/mvp")
    assert as_folder(Path("data")) == Path("data")
    folder = as_folder("s3://bucket/data/mvp/")
    assert isinstance(folder, RemoteFolder)
    assert str(folder / "shards" / "00000.parquet") == "s3://bucket/data/mvp/shards/00000.parquet"
    assert (folder.bucket, folder.name, folder.resolve()) == ("bucket", "mvp", folder)
    assert as_folder(folder) is folder


@pytest.mark.parametrize(
    "text",
    [
        "gs://bucket/a",
        "s3://bucket",
        "s3://",
        "s3:///a",
        "s3://b/../c",
        "s3://b//c",
        "s3://b/c?region=x",
        "s3://k@b/c",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"expected a folder, or s3://bucket/folder, got .* AWS_ENDPOINT_URL"
    ):
        as_folder(text)


def test_no_name_at_all_is_no_folder() -> None:
    with pytest.raises(ConfigurationError, match="expected the name of a folder, got none"):
        as_folder("")


def test_sizes_of_a_local_folder(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    assert sizes(tmp_path) == {"a": -1, "b": 2}
    assert sizes(tmp_path / "nowhere") == {}


# --- a real S3 server -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server on this machine."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("moto is not installed: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(tmp_path_factory.mktemp("moto") / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(address + "/moto-api/").close()
            return
        except URLError:
            assert process.poll() is None, "the S3 server ended"
            time.sleep(0.1)
    raise TimeoutError("the S3 server does not answer")


def _ask(address: str, method: str, data: bytes | None = None) -> None:
    """Ask the server directly, past the code under test."""
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method)).close()


_NUMBERS = count()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> RemoteFolder:
    """A new bucket, and the environment that leads there."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"bucket-{next(_NUMBERS)}"
    _ask(f"{server}/{name}", "PUT")
    return RemoteFolder(name)


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize(("old", "new"), [(b"short", b"much longer"), (b"much longer", b"short")])
def test_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    old: bytes,
    new: bytes,
) -> None:
    """At each of the moments between the requests."""
    path = (request.getfixturevalue("bucket") if place == "s3" else tmp_path) / "a"
    for moment in range(4):
        path.write_bytes(old)
        moments = iter(range(100))

        def replaced(*arguments: Any, what: Callable[..., Any], at: int = moment, count: Any = moments) -> Any:
            if next(count) == at:
                path.write_bytes(new)
            return what(*arguments)

        with monkeypatch.context() as patched:
            for name in ("size_of", "read"):
                patched.setattr(storage, name, partial(replaced, what=getattr(storage, name)))
            assert storage.read_whole(path, 1000) in (old, new)
        assert storage.read_whole(path, 3) in (old[:3], new[:3])


def test_files_on_s3(bucket: RemoteFolder) -> None:
    folder = bucket / "data"
    assert (folder.exists(), folder.is_dir(), sizes(folder)) == (False, False, {})
    with pytest.raises(FileNotFoundError):
        (folder / "a").read_bytes()
    for data in (b"one", b"", b"x" * 11_000_000):  # more than one part
        publish(folder / "a b", data)
        assert (folder / "a b").read_bytes() == data
        assert sizes(folder) == {"a b": len(data)}
    publish(folder / "deep" / "c", b"c")
    assert (folder.exists(), folder.is_dir(), (folder / "a b").is_dir()) == (True, True, False)
    assert list(sizes(folder)) == ["a b"]
    assert clean(folder) == 0


def test_ctrl_c_does_not_publish_half_a_file(bucket: RemoteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = RemoteFolder._upload

    def interrupted(self: RemoteFolder, data: bytes) -> None:
        time.sleep(0.1)
        _thread.interrupt_main()
        time.sleep(0.1)
        upload(self, data)

    monkeypatch.setattr(RemoteFolder, "_upload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(bucket / "a", b"whole")
    assert (bucket / "a").read_bytes() == b"whole"


def test_a_dataset_on_s3_is_the_local_one(
    tmp_path: Path,
    bucket: RemoteFolder,
    format: str,
    fill: Fill,
    make_manifest: MakeManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(tmp_path / "data", make_manifest(format))
    first = fill(bucket / "data", make_manifest(format), range(2, 3))
    assert first.manifest.shards == load_manifest(bucket / "data").shards
    with pytest.raises(DatasetError, match=f"{bucket}/data is incomplete: expected 3 shards, got 1"):
        open_dataset(f"{bucket}/data")
    fill(bucket / "data", make_manifest(format))
    local, remote = open_dataset(tmp_path / "data"), open_dataset(f"{bucket}/data")
    assert remote.content_hash == local.content_hash
    assert remote.verify() == []
    names = ["README.md", "dataset.json", *(f"shards/{entry.name}" for entry in local.manifest.shards)]
    assert all((bucket / "data" / name).read_bytes() == (tmp_path / "data" / name).read_bytes() for name in names)
    assert (remote.table()["east_m"] == local.table()["east_m"]).all()
    with monkeypatch.context() as patch:
        patch.setattr(shards, "read_shard", None)  # counting reads no rows
        assert [remote.counts(index) for index in range(3)] == [local.counts(index) for index in range(3)]
    batches = [batch.action for batch in remote.batches(batch_size=8)]
    expected = [batch.action for batch in local.batches(batch_size=8)]
    assert all((one == two).all() for one, two in zip(batches, expected, strict=True))
    assert sum(len(batch.action) for batch in remote.batches(stream=True, batch_size=8, workers=1)) == remote.rows
    again = fill(bucket / "data", make_manifest(format))
    assert again.made == [] == again.lines  # type: ignore[attr-defined]


def test_conversion_from_and_to_s3(
    tmp_path: Path, bucket: RemoteFolder, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(tmp_path / "data", make_manifest())
    local = open_dataset(tmp_path / "data")
    assert convert(local, bucket / "hdf5", "hdf5").content_hash == local.content_hash
    back = convert(open_dataset(bucket / "hdf5"), bucket / "parquet", "parquet")
    assert back.content_hash == local.content_hash
    assert open_dataset(bucket / "parquet").verify() == []
    with pytest.raises(DatasetError, match="is the dataset itself"):
        convert(open_dataset(bucket / "hdf5"), bucket / "hdf5", "hdf5")


def test_damage_on_s3_is_named_and_healed(
    server: str, bucket: RemoteFolder, fill: Fill, make_manifest: MakeManifest
) -> None:
    folder = bucket / "data"
    fill(folder, make_manifest(episodes=20))
    shards = [folder / "shards" / name for name in sizes(folder / "shards")]
    before = [shard.read_bytes() for shard in shards]
    _ask(f"{server}/{shards[0].key}", "DELETE")
    _ask(f"{server}/{shards[1].key}", "PUT", before[1][:100])
    _ask(f"{server}/{shards[2].key}", "PUT", before[2][:-9] + bytes([before[2][-9] ^ 1]) + before[2][-8:])
    _ask(f"{server}/{shards[3].key}", "PUT", before[4])
    _ask(f"{server}/{folder.key}/shards/notes.txt", "PUT", b"mine")
    found = {problem.shard: problem.what for problem in open_dataset(folder, allow_incomplete=True).verify()}
    assert found == {
        **{"00000.parquet": "missing", "00001.parquet": "cut", "00002.parquet": "altered"},
        **{"00003.parquet": "swapped", "notes.txt": "foreign"},
    }
    with pytest.raises(DatasetError, match=r"shard 00000\.parquet is missing"):
        open_dataset(folder)
    assert fill(folder, make_manifest(episodes=20)).made == [0, 1, 2, 3]  # type: ignore[attr-defined]
    assert [shard.read_bytes() for shard in shards] == before


def test_other_datasets_and_other_things_on_s3_are_not_touched(
    bucket: RemoteFolder, fill: Fill, make_manifest: MakeManifest
) -> None:
    fill(bucket / "a", make_manifest(), range(0, 2))
    fill(bucket / "b", make_manifest(seed=1))
    with pytest.raises(DatasetError, match="holds another dataset: seed 0 there, 1 now"):
        fill(bucket / "a", make_manifest(seed=1))
    stranger = bucket / "a" / "shards" / "00002.parquet"
    publish(stranger, (bucket / "b" / "shards" / "00002.parquet").read_bytes())
    with pytest.raises(DatasetError, match=f"{stranger} is not of this dataset"):
        fill(bucket / "a", make_manifest())
    publish(bucket / "c" / "thesis.tex", b"mine")
    with pytest.raises(DatasetError, match=r"is not empty and holds no dataset\.json \(but thesis\.tex\)"):
        fill(bucket / "c", make_manifest())
    with pytest.raises(DatasetError, match=f"{bucket}/d is no dataset: there is no such folder"):
        open_dataset(bucket / "d")


@pytest.mark.parametrize("where", ["local", "s3"])
def test_without_locks_the_later_writer_puts_back_what_was_lost(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    where: str,
    make_manifest: MakeManifest,
    make_table: Callable[..., Table],
) -> None:
    folder = request.getfixturevalue("bucket") / "data" if where == "s3" else tmp_path / "data"
    lines: list[str] = []
    one, two = (DatasetWriter(folder, make_manifest(), lines.append) for _ in range(2))
    one.add(write_shard(folder, one.manifest, 0, make_table(range(4))))
    one.finish("skyclone collect --shards 0:1")
    save_manifest(folder, make_manifest())  # the other had read it before, and writes it now
    two.add(write_shard(folder, two.manifest, 1, make_table(range(4, 8))))
    two.add(write_shard(folder, two.manifest, 2, make_table(range(8, 10))))
    assert len(load_manifest(folder).shards) == 2
    assert two.finish("skyclone collect --shards 1:3").complete
    assert lines == ["Shard 00000.parquet had no entry in the manifest; it is sound and was taken in."]
    assert open_dataset(folder).verify() == []


def test_what_s3_refuses_is_said_in_words(
    server: str, bucket: RemoteFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = RemoteFolder("nowhere") / "data"
    with pytest.raises(
        StorageError, match=rf"there is no bucket 'nowhere' at {server}\. Make it first \(`aws s3 mb"
    ):
        nowhere.mkdir()
    with pytest.raises(StorageError, match=r"NO_SUCH_BUCKET.* Make the bucket first"):
        publish(nowhere, b"")
    _ask(f"{server}/moto-api/reset-auth", "POST", b"0")  # from now on it wants to know who asks
    try:
        for ask in (bucket.exists, bucket.sizes, (bucket / "a").read_bytes, lambda: publish(bucket / "a", b"")):
            with pytest.raises(StorageError, match="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
                ask()
    finally:
        _ask(f"{server}/moto-api/reset-auth", "POST", b"inf")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SystemExit) as stop:
        main(["datasets", "info", f"{bucket}/data"])
    told = capsys.readouterr().err
    assert stop.value.code == 1
    assert "No server answers at http://127.0.0.1:1: correct AWS_ENDPOINT_URL" in told
    assert "Traceback" not in told


# --- the commands, killed and resumed ---------------------------------------------------------------------

MANY = ["--episodes", "4", "--episodes-per-shard", "1", "--aircraft", "3", "--seed", "7"]


def _start(folder: RemoteFolder, *options: str) -> Forked:
    """Start a collector as people do."""
    return Forked(command, "collect", "--out", str(folder), *MANY, *options)


def _kill_again_and_again(folder: RemoteFolder, kills: int, workers: int) -> None:
    """Kill collectors that write to S3 at random moments; after each, nothing published may be bad."""
    dice = random.Random(workers)
    for _ in range(kills):
        wanted = len(sizes(folder / "shards")) + dice.randint(0, 2)
        process = _start(folder, "--workers", str(workers))
        while process.poll() is None and len(sizes(folder / "shards")) < wanted:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.1))
        process.kill()
        process.communicate()
        if (folder / "dataset.json").exists():
            found = open_dataset(folder, allow_incomplete=True).verify()
            assert {problem.what for problem in found} <= {"missing", "unlisted"}, found


def _collect_and_compare(folder: RemoteFolder, local: Path) -> None:
    """Collect to the end in this process, and hold it against a local run."""
    main(["collect", "--out", str(folder), *MANY, "--workers", "1"])
    main(["collect", "--out", str(local), *MANY, "--workers", "1"])
    assert open_dataset(folder).content_hash == open_dataset(local).content_hash
    assert open_dataset(folder).verify() == []


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "workers"), [(1, 1), (3, 2)])
def test_killed_while_it_writes_to_s3_it_ends_as_a_local_run(
    bucket: RemoteFolder, tmp_path: Path, kills: int, workers: int
) -> None:
    _kill_again_and_again(bucket / "data", kills, workers)
    _collect_and_compare(bucket / "data", tmp_path / "data")


@pytest.mark.slow
def test_two_machines_fill_one_folder_on_s3_at_once(bucket: RemoteFolder, tmp_path: Path) -> None:
    ranges = ("0:1", "1:4")
    processes = [_start(bucket / "data", "--workers", "1", "--shards", shards) for shards in ranges]
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(told)
    assert load_manifest(bucket / "data").complete
    _collect_and_compare(bucket / "data", tmp_path / "data")
