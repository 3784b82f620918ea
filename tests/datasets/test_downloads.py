"""Downloads: only a file with the right checksum, over a safe connection, gets its trusted name."""

import hashlib
import http.server
import threading

import pytest

from lth_jax import datasets, errors
from lth_jax.datasets import downloads

GOOD = b"the very bytes" * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves GOOD under the server's chosen misbehaviour, and counts requests."""

    def do_GET(self):
        self.server.paths.append(self.path)
        behaviour = self.server.behaviour
        if behaviour == "redirect":
            self.send_response(302)
            self.send_header("Location", self.server.target)
            self.end_headers()
            return
        if behaviour == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        body = {"good": GOOD, "wrong": GOOD[::-1], "cut": GOOD[:100]}[behaviour]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.behaviour, found.paths, found.target = "good", [], ""
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The cache folder, with one data set of one file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    remote = downloads.Remote(
        "https://nowhere.invalid/base", {"a.gz": "sha256:" + hashlib.sha256(GOOD).hexdigest()}
    )
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
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [("wrong", "wrong checksum"), ("cut", "connection was cut"), ("missing", "HTTP status 404")],
)
def test_a_bad_download_is_one_line_one_attempt_and_no_file(server, folder, behaviour, word):
    server.behaviour = behaviour
    with pytest.raises(errors.InputError) as error:
        fetch(server)
    assert_helps(error, word)
    assert left_in(folder) == []
    assert len(server.paths) == 1


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
    assert_helps(error)


def test_every_downloaded_data_set_has_an_https_home_and_checksums():
    assert set(downloads.REMOTES) == set(datasets.DATASETS) - {"digits"}
    lengths = {"sha256": 64, "md5": 32}
    for remote in downloads.REMOTES.values():
        assert remote.base.startswith("https://")
        for known_hash in remote.files.values():
            algorithm, checksum = known_hash.split(":")
            assert len(checksum) == lengths[algorithm]
