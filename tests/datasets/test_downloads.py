"""Downloads: only a file with the right checksum, over a safe connection, gets its trusted name."""

import contextlib
import gzip
import hashlib
import http.server
import io
import threading

import pytest

from lth_jax import datasets, errors
from lth_jax.datasets import downloads, transfer

GOOD = b"the very bytes" * 1000
SIZE = len(GOOD)
KNOWN = downloads.Known(SIZE, "sha256:" + hashlib.sha256(GOOD).hexdigest())


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves GOOD under the server's chosen misbehaviour, a method each, and counts requests."""

    def do_GET(self):
        self.server.paths.append(self.path)
        with contextlib.suppress(ConnectionError):
            getattr(self, self.server.behaviour)()

    def answer(self, body, length=SIZE, **headers):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.answer(GOOD)

    def good_said_to_be_packed(self):
        """As some servers do for a name that ends in .gz."""
        self.answer(GOOD, Content_Encoding="gzip")

    def wrong(self):
        self.answer(GOOD[::-1])

    def cut(self):
        self.answer(GOOD[:100])

    def missing(self):
        self.send_error(404)

    def redirect(self):
        self.send_response(302)
        self.send_header("Location", self.server.target)
        self.end_headers()

    def redirect_without_end(self):
        self.redirect()
        self.on_and_on(b"x" * 65536)

    def one_byte_more(self):
        self.answer(GOOD + b"x", length=None)

    def without_end(self):
        self.answer(GOOD, length=None)
        self.on_and_on(b"x" * 65536)

    def chunks_without_end(self):
        self.answer(b"", length=None, Transfer_Encoding="chunked")
        self.on_and_on(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    def huge(self):
        self.answer(GOOD, length=10**15)

    def bomb(self):
        packed = gzip.compress(b"\0" * 10_000_000)
        assert len(packed) < SIZE
        self.answer(packed, length=len(packed), Content_Encoding="gzip")

    def trickle(self):
        self.answer(b"")
        self.on_and_on(b"x", pause=0.02)

    def trickle_of_headers(self):
        self.on_and_on(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.02)

    def silence(self):
        self.server.ended.wait(5)

    def on_and_on(self, piece, pause=0.0):
        """Until the client is gone: that it never is would hang the test."""
        while not self.server.ended.wait(pause):
            self.wfile.write(piece)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.behaviour, found.paths, found.target = "good", [], ""
        found.ended = threading.Event()
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.ended.set()
        found.shutdown()
        thread.join()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The cache folder, with one data set of one file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    remote = downloads.Remote("https://nowhere.invalid/base", {"a.gz": KNOWN})
    monkeypatch.setitem(downloads.REMOTES, "mnist", remote)
    return tmp_path / "lth_jax" / "data" / "mnist"


def fetch(server, **options):
    mirror = f"http://127.0.0.1:{server.server_port}/mirror/"
    return downloads.fetch("mnist", mirror, allow_http_loopback=True, **options)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def assert_helps(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in (*words, "a.gz", "https://nowhere.invalid/base", "data_dir=FOLDER"):
        assert word in text, text


def test_a_good_file_is_fetched_once_and_then_found_offline(server, folder, capfd):
    assert fetch(server) == folder
    assert (folder / "a.gz").read_bytes() == GOOD
    fetch(server)
    downloads.fetch("mnist", offline=True)
    assert server.paths == ["/mirror/a.gz"]
    assert left_in(folder) == ["a.gz"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        ("wrong", "wrong checksum"),
        ("cut", "connection was cut"),
        ("missing", "HTTP status 404"),
        ("one_byte_more", "sends more than the 14000 bytes"),
        ("without_end", "sends more than the 14000 bytes"),
        ("chunks_without_end", "sends more than the 14000 bytes"),
        ("huge", "announces 1000000000000000 bytes, the file has 14000"),
        ("bomb", "wrong checksum"),
    ],
)
def test_a_bad_download_is_one_line_one_attempt_and_no_file(server, folder, behaviour, word, capfd):
    server.behaviour = behaviour
    with pytest.raises(errors.InputError) as error:
        fetch(server)
    assert capfd.readouterr() == ("", "")
    assert_helps(error, word)
    assert left_in(folder) == []
    assert len(server.paths) == 1


@pytest.mark.parametrize("behaviour", ["trickle", "trickle_of_headers", "silence"])
def test_a_server_that_is_too_slow_is_given_up(server, folder, behaviour, monkeypatch):
    monkeypatch.setattr(transfer, "_WITHIN_SECONDS", 0.3)
    server.behaviour = behaviour
    with pytest.raises(errors.InputError) as error:
        fetch(server)
    assert_helps(error, "too slow: less than 16384 bytes in 0.3 s")
    assert left_in(folder) == [] and len(server.paths) == 1


@pytest.mark.parametrize("behaviour", ["without_end", "chunks_without_end", "bomb"])
def test_no_more_is_written_than_the_file_has_and_one_byte(server, folder, behaviour):
    server.behaviour, output, told = behaviour, io.BytesIO(), []
    with contextlib.suppress(transfer.Refused):
        url = f"http://127.0.0.1:{server.server_port}/a.gz"
        transfer.save(url, output, SIZE, told.append, allow_http_loopback=True)
    assert sum(told) == len(output.getvalue()) <= SIZE + 1


def test_a_file_is_taken_as_it_is_sent(server, folder):
    server.behaviour = "good_said_to_be_packed"
    assert (fetch(server) / "a.gz").read_bytes() == GOOD


@pytest.mark.parametrize("behaviour", ["redirect", "redirect_without_end"])
def test_redirects_have_an_end(server, folder, behaviour):
    server.behaviour, server.target = behaviour, "/a.gz"
    with pytest.raises(errors.InputError) as error:
        fetch(server)
    assert_helps(error, "more than 10 redirects")
    assert left_in(folder) == [] and len(server.paths) == 11


def test_a_file_of_another_size_is_not_even_read(server, folder, monkeypatch):
    folder.mkdir(parents=True)
    (folder / "a.gz").write_bytes(GOOD + b"x")
    monkeypatch.setattr(downloads.pooch, "file_hash", None)
    with pytest.raises(errors.InputError) as error:
        datasets.load("mnist", offline=True)
    assert_helps(error, "wrong checksum or size", "offline=True")


@pytest.mark.parametrize("target", ["http://localhost:{port}/a.gz", "http://192.0.2.1/a.gz"])
def test_a_redirect_to_plain_http_is_not_followed(server, folder, target):
    server.behaviour, server.target = "redirect", target.format(port=server.server_port)
    with pytest.raises(errors.InputError) as error:
        fetch(server)
    assert_helps(error, "refused: only https", server.target)
    assert left_in(folder) == [] and len(server.paths) == 1


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_mirror_without_https_is_refused_unasked(server, folder, scheme):
    with pytest.raises(errors.InputError) as error:
        datasets.load("mnist", mirror=f"{scheme}://127.0.0.1:{server.server_port}")
    assert_helps(error, "refused: only https")
    assert server.paths == [] and left_in(folder) == []


def test_no_network_says_what_to_do_by_hand(folder):
    with pytest.raises(errors.InputError) as error:
        datasets.load("mnist", mirror="https://127.0.0.1:9")  # The discard port: nobody listens.
    assert_helps(error, "no connection")
    assert left_in(folder) == []


def test_a_damaged_file_in_the_cache_is_replaced_and_offline_not_trusted(server, folder):
    folder.mkdir(parents=True)
    (folder / "a.gz").write_bytes(b"damaged")
    with pytest.raises(errors.InputError) as error:
        downloads.fetch("mnist", offline=True)
    assert_helps(error, "wrong checksum", "offline=True")
    server.behaviour = "cut"
    with pytest.raises(errors.InputError):
        fetch(server)
    assert left_in(folder) == ["a.gz"]  # Not touched by a failed download, and still not trusted:
    server.behaviour = "good"
    fetch(server)
    assert (folder / "a.gz").read_bytes() == GOOD


def test_a_missing_file_offline_is_one_line(folder):
    with pytest.raises(errors.InputError) as error:
        datasets.load("mnist", offline=True)
    assert_helps(error, "no such file", "offline=True")


def test_a_cache_folder_that_cannot_be_made_is_one_line(server, folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(errors.InputError) as error:
        fetch(server)
    assert_helps(error, "Not a directory")
    assert "Errno" not in str(error.value)


def test_every_downloaded_data_set_has_an_https_home_sizes_and_checksums():
    assert set(downloads.REMOTES) == set(datasets.DATASETS) - {"digits"}
    lengths = {"sha256": 64, "md5": 32}
    for remote in downloads.REMOTES.values():
        assert remote.base.startswith("https://")
        for known in remote.files.values():
            algorithm, checksum = known.checksum.split(":")
            assert len(checksum) == lengths[algorithm]
            assert 4_000 < known.size < 200_000_000
