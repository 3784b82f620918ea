"""Verified downloads of the data sets into the user's cache folder (pooch; Uieda et al. 2020).

HTTPS only, redirects included. A file takes its trusted name only after its checksum agreed, and is
checked again whenever it is used; one attempt per file, with short timeouts, and no byte more than
the file has (transfer.py).
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pooch
import requests
from rich import console as rich_console
from rich import progress as rich_progress

from lth_jax import errors, files
from lth_jax.datasets import transfer


class Known(NamedTuple):
    """What an official file is: its bytes, and "algorithm:checksum"."""

    size: int
    checksum: str


class Remote(NamedTuple):
    """Where a data set is published: base URL, and what each file name stands for."""

    base: str
    files: dict[str, Known]


REMOTES = {
    "mnist": Remote(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {
            "train-images-idx3-ubyte.gz": Known(
                9_912_422, "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": Known(
                28_881, "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": Known(
                1_648_877, "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": Known(
                4_542, "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    # The MD5 of its README: its authors publish nothing stronger.
    "fashion_mnist": Remote(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        {
            "train-images-idx3-ubyte.gz": Known(26_421_880, "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            "train-labels-idx1-ubyte.gz": Known(29_515, "md5:25c81989df183df01b3e8a0aad5dffbe"),
            "t10k-images-idx3-ubyte.gz": Known(4_422_102, "md5:bef4ecab320f06d8554ea6380940ec79"),
            "t10k-labels-idx1-ubyte.gz": Known(5_148, "md5:bb300cfdad3c16e7a12a480ee83cd310"),
        },
    ),
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz",
        {
            "cifar-10-binary.tar.gz": Known(
                170_052_171,
                "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        },
    ),
}


def remedy(name: str) -> str:
    """What to do by hand to get a data set's files, as the end of an error message."""
    remote = REMOTES[name]
    return (
        f"download {', '.join(remote.files)} from {remote.base}/ into a folder and pass "
        "data_dir=FOLDER"
    )


def fetch(
    name: str,
    mirror: str | None = None,
    offline: bool = False,
    *,
    allow_http_loopback: bool = False,
) -> pathlib.Path:
    """Makes sure that a data set's verified files are in the cache folder.

    Args:
        name: A key of REMOTES.
        mirror: Base URL to take the files from instead; the checksums stay the same.
        offline: Never connect; the files must be there already.
        allow_http_loopback: For tests of this function only: also accepts http://127.0.0.1.

    Returns:
        The folder with the files.

    Raises:
        errors.InputError: If a file cannot be had or its checksum is wrong: one line, with what to
            do by hand. No file that could be mistaken for a good one is left behind.
    """
    remote = REMOTES[name]
    folder = files.cache_folder() / "data" / name
    base = (mirror or remote.base).rstrip("/")
    for file_name, known in remote.files.items():
        path = folder / file_name
        try:
            if _is_good(path, known):
                continue
            if offline:
                what = "wrong checksum or size" if path.exists() else "no such file"
                raise errors.InputError(
                    f"{path}: {what}, and offline=True forbids a download; {remedy(name)}"
                )
            _download(f"{base}/{file_name}", path, known, allow_http_loopback)
        except transfer.Refused as error:
            raise errors.InputError(f"{error}; {remedy(name)}") from None
        except requests.exceptions.RequestException as error:
            raise errors.InputError(
                f"{base}/{file_name}: download failed ({_reason(error)}); {remedy(name)}"
            ) from None
        except OSError as error:
            raise errors.InputError(f"{path}: {error.strerror or error}; {remedy(name)}") from None
    return folder


def _is_good(path: pathlib.Path, known: Known) -> bool:
    if not path.is_file() or path.stat().st_size != known.size:
        return False
    algorithm, checksum = known.checksum.split(":")
    return bool(pooch.file_hash(str(path), alg=algorithm) == checksum)


def _download(url: str, path: pathlib.Path, known: Known, allow_http_loopback: bool) -> None:
    """One attempt. pooch writes to a temporary name and renames once the checksum agrees."""
    transfer.require_https(url, allow_http_loopback)  # Before a folder is made.
    path.parent.mkdir(parents=True, exist_ok=True)
    console = rich_console.Console(stderr=True)
    with (
        _quiet_pooch(),
        rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # It would write an empty line elsewhere.
        ) as bar,
    ):
        task = bar.add_task(path.name, total=known.size)

        def save(url: str, place: str, _: pooch.Pooch | None) -> None:
            with open(place, "wb") as output:
                transfer.save(
                    url,
                    output,
                    known.size,
                    lambda received: bar.advance(task, received),
                    allow_http_loopback=allow_http_loopback,
                )

        try:
            pooch.retrieve(url, known.checksum, path.name, path.parent, downloader=save)
        except (transfer.Refused, requests.exceptions.RequestException):
            raise
        except ValueError:
            raise transfer.Refused(f"{url}: wrong checksum, expected {known.checksum}") from None


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Without pooch's own lines: progress is shown by the bar, faults by the one error line."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: requests.exceptions.RequestException) -> str:
    kinds = requests.exceptions
    if isinstance(error, kinds.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    for kind, reason in (
        (kinds.SSLError, "the server's certificate is not trusted"),
        (kinds.Timeout, "no answer in time"),
        (kinds.ChunkedEncodingError, "the connection was cut"),
        (kinds.ConnectionError, "no connection; is there a network?"),
    ):
        if isinstance(error, kind):
            return reason
    return " ".join(str(error).split())[:200]
