"""Parses the databases and files of installed packages: a function for each, from bytes to packages."""

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from email.parser import HeaderParser

from tallyman_cli.sbom.packages import Package


class Unreadable(Exception):
    """The file is there, but it can't be read: the message says why."""


def os_release(raw: bytes) -> dict[str, str]:
    """The fields of /etc/os-release."""
    lines = (line.partition("=") for line in raw.decode(errors="replace").splitlines())
    return {key.strip(): value.strip().strip("\"'") for key, _, value in lines}


def dpkg(raw: bytes) -> Iterator[Package]:
    """The installed packages in Debian's status file, or in one paragraph of it (status.d)."""
    for paragraph in raw.decode(errors="replace").replace("\r\n", "\n").split("\n\n"):
        fields = _fields(paragraph, ": ")
        state = fields.get("Status", "install ok installed").split()
        if fields.get("Package") and fields.get("Version") and state[-1] in ("installed", "unpacked"):
            more = (("arch", fields.get("Architecture", "")),)
            yield Package("deb", "", fields["Package"], fields["Version"], more)


def apk(raw: bytes) -> Iterator[Package]:
    """The packages in Alpine's `installed`."""
    for paragraph in raw.decode(errors="replace").split("\n\n"):
        fields = _fields(paragraph, ":")
        if fields.get("P") and fields.get("V"):
            yield Package("apk", "", fields["P"], fields["V"], (("arch", fields.get("A", "")),))


def rpm(raw: bytes) -> Iterator[Package]:
    """The packages in the database of RPM 4.16 and later (SQLite). Raises Unreadable for another one."""
    if not raw.startswith(b"SQLite format 3\0"):
        raise Unreadable("the RPM database is not SQLite (older than RPM 4.16)")
    # With a write-ahead log (2) SQLite refuses a database that is not a file; what the log holds is not here anyway.
    plain = raw[:18] + b"\1\1" + raw[20:]
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.deserialize(plain)
            blobs = [bytes(row[0]) for row in database.execute("SELECT blob FROM Packages ORDER BY hnum")]
        except sqlite3.Error as error:
            raise Unreadable(f"the RPM database can't be read: {error}") from None
    for blob in blobs:
        try:
            found = _rpm_header(blob)
        except (struct.error, ValueError, IndexError):
            raise Unreadable("an entry of the RPM database can't be read") from None
        if found.get("name") and found["name"] != "gpg-pubkey":
            release = f"{found.get('version', '')}-{found.get('release', '')}"
            more = (("arch", found.get("arch", "")), ("epoch", found.get("epoch", "")))
            yield Package("rpm", "", found["name"], release, more)


_RPM_TAGS = {1000: "name", 1001: "version", 1002: "release", 1003: "epoch", 1022: "arch"}
_RPM_INT32 = 4


def _rpm_header(blob: bytes) -> dict[str, str]:
    """The fields of a header, which has the numbers of index entries and of bytes, the entries (tag, type, offset,
    count), and the bytes."""
    entries, _ = struct.unpack_from(">II", blob)
    store = 8 + 16 * entries
    found: dict[str, str] = {}
    for number in range(entries):
        tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if name := _RPM_TAGS.get(tag):
            if kind == _RPM_INT32:
                found[name] = str(struct.unpack_from(">i", blob, store + offset)[0])
            else:
                found[name] = blob[store + offset : blob.index(b"\0", store + offset)].decode(errors="replace")
    return found


def python(raw: bytes) -> Iterator[Package]:
    """The package of METADATA in a .dist-info, or PKG-INFO in an .egg-info."""
    fields = HeaderParser().parsestr(raw.decode(errors="replace"))
    if fields["Name"] and fields["Version"]:
        yield Package("pypi", "", str(fields["Name"]).strip(), str(fields["Version"]).strip())


def npm(raw: bytes) -> Iterator[Package]:
    """The package of a package.json in node_modules. Raises Unreadable."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise Unreadable("a package.json in node_modules is not JSON") from None
    name, version = (found.get("name"), found.get("version")) if isinstance(found, Mapping) else (None, None)
    if isinstance(name, str) and isinstance(version, str) and name:
        scope, slash, short = name.rpartition("/")
        yield Package("npm", scope if slash else "", short, version)


def _fields(paragraph: str, separator: str) -> dict[str, str]:
    """The fields `Name: value`, one a line. The first of equal names counts; continued lines are skipped."""
    found: dict[str, str] = {}
    for line in paragraph.splitlines():
        key, there, value = line.partition(separator)
        if there and key and not key[0].isspace():
            found.setdefault(key, value.strip())
    return found
