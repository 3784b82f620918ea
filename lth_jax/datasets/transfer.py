"""One file over HTTPS, within bounds: never more bytes than it has, never slower than a crawl.

A server may be wrong or hostile: it may send without an end, a byte now and then, or a redirect to
a place that is not safe. Bytes are taken as they are sent and never unpacked.
"""

import contextlib
import queue
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import BinaryIO

import requests
import urllib3

# Seconds to connect, and between two pieces of a file: no network must be told within seconds.
_TIMEOUT = (5, 20)
# A server that sends fewer bytes than this in so many seconds is given up, headers included.
_LEAST_BYTES, _WITHIN_SECONDS = 1 << 14, 30.0
_PIECE = 1 << 16  # bytes
_MOST_REDIRECTS = 10


class Refused(ValueError):
    """A download that must not go on; the message is one line."""


def save(
    url: str,
    output: BinaryIO,
    size: int,
    tell: Callable[[int], None],
    *,
    allow_http_loopback: bool = False,
) -> None:
    """Writes what a server sends for a URL, in one attempt.

    Args:
        url: Of the file; https, as is every place that it redirects to.
        output: Where the bytes go; never more than `size` + 1.
        size: Bytes that the file has.
        tell: Told the number of bytes of each piece.
        allow_http_loopback: For tests: also accepts http://127.0.0.1.

    Raises:
        Refused: If the server sends or announces more bytes, is too slow, or is no safe place.
        requests.exceptions.RequestException: If there is no connection or it is cut.
    """
    require_https(url, allow_http_loopback)
    # A thread of its own: names, handshakes and headers have no time limit that holds as a whole.
    # It may outlive this call while a hostile server goes on; it writes only into the queue.
    pieces: queue.Queue[bytes | Exception] = queue.Queue(maxsize=4)
    stopped = threading.Event()
    threading.Thread(
        target=_fill, args=(pieces, stopped, url, size, allow_http_loopback), daemon=True
    ).start()
    received = 0
    try:
        for piece in _in_time(pieces, url):
            received += len(piece)
            output.write(piece)
            tell(len(piece))
            if received > size:
                raise Refused(f"{url}: sends more than the {size} bytes of the file")
    finally:
        stopped.set()


def require_https(url: str, allow_http_loopback: bool) -> None:
    """Refuses a URL that is not safe to download from."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise Refused(f"{_shown(url)}: refused: {error}") from None
    loopback = allow_http_loopback and (parts.scheme, parts.hostname) == ("http", "127.0.0.1")
    if parts.scheme != "https" and not loopback:
        raise Refused(f"{_shown(url)}: refused: only https is safe to download from")


def _shown(url: str) -> str:
    """A URL as one line of an error message: a server chose it, if it comes from a redirect."""
    return "".join(letter if letter.isprintable() else "?" for letter in url[:300])


def _in_time(pieces: queue.Queue[bytes | Exception], url: str) -> Iterator[bytes]:
    """The pieces up to the empty one at the end, as long as enough bytes come in time."""
    end, missing = time.monotonic() + _WITHIN_SECONDS, _LEAST_BYTES
    while True:
        try:
            piece = pieces.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise Refused(
                f"{url}: too slow: less than {_LEAST_BYTES} bytes in {_WITHIN_SECONDS:g} s"
            ) from None
        if isinstance(piece, Exception):
            raise piece
        if not piece:
            return
        yield piece
        missing -= len(piece)
        if missing <= 0:
            end, missing = time.monotonic() + _WITHIN_SECONDS, _LEAST_BYTES


def _fill(
    pieces: queue.Queue[bytes | Exception],
    stopped: threading.Event,
    url: str,
    size: int,
    allow_http_loopback: bool,
) -> None:
    """Puts a file's bytes into the queue, then an empty piece, or what went wrong."""

    def put(piece: bytes | Exception) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                pieces.put(piece, timeout=0.1)
                return

    response = None
    try:
        response = _open(url, allow_http_loopback)
        response.raise_for_status()
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > size:
            raise Refused(f"{url}: announces {announced[:20]} bytes, the file has {size}")
        left = size + 1
        while left and not stopped.is_set():
            # One read of the socket, so that a trickle is seen; as sent, so that nothing unpacks.
            piece = response.raw.read1(min(left, _PIECE), decode_content=False)
            if not piece:
                break
            left -= len(piece)
            put(piece)
        put(b"")
    except urllib3.exceptions.ReadTimeoutError as error:
        put(requests.exceptions.ReadTimeout(error))
    except urllib3.exceptions.HTTPError as error:
        put(requests.exceptions.ChunkedEncodingError(error))
    except Exception as error:  # Whatever it is belongs to the caller, not to this thread.
        put(error)
    finally:
        if response is not None:
            response.close()


def _open(url: str, allow_http_loopback: bool) -> requests.Response:
    """The response to a GET, its body unread.

    Redirects are followed here: requests reads their bodies whole, which may have no end.
    """
    with requests.Session() as session:
        for _ in range(_MOST_REDIRECTS + 1):
            require_https(url, allow_http_loopback)
            request = session.prepare_request(
                requests.Request("GET", url, headers={"Accept-Encoding": "identity"})
            )
            settings = session.merge_environment_settings(url, {}, True, None, None)
            response = session.get_adapter(url).send(request, timeout=_TIMEOUT, **settings)
            if not response.is_redirect:
                return response
            response.close()
            url = urllib.parse.urljoin(url, response.headers["location"])
    raise Refused(f"{_shown(url)}: more than {_MOST_REDIRECTS} redirects")
