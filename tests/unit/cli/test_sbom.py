"""The SBOM of a build: packages found in layers, validity for the SPDX validator, and what it reports as missing."""

import io
import json
import sqlite3
import struct
import tarfile
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.sboms import CYCLONEDX, SPDX, package_count
from tallyman.domain.images.versions import parse_version
from tallyman.errors import BadInput
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.sbom.contents import UNKNOWN, combine, look_into
from tallyman_cli.sbom.document import read, sbom
from tallyman_cli.sbom.packages import Contents, Package

DPKG = b"""\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 1:2.41-12+deb13u1
Description: a library
 Package: of nothing

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
APK = b"C:Q1\nP:musl\nV:1.2.5-r9\nA:x86_64\nF:lib\nR:ld.so\n\nP:busybox\nV:1.37.0-r14\nA:x86_64\n"
DEBIAN = b'ID=debian\nVERSION_ID="13"\n'


def rpm_database(folder: Path, *packages: Mapping[int, str | int]) -> bytes:
    """rpmdb.sqlite with a header for each package: tag → value."""
    file = folder / "rpmdb.sqlite"
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        for package in packages:
            index, store = b"", b""
            for tag, value in package.items():
                store += b"\0" * (-len(store) % 4)
                index += struct.pack(">IIII", tag, 4 if isinstance(value, int) else 6, len(store), 1)
                store += struct.pack(">i", value) if isinstance(value, int) else value.encode() + b"\0"
            header = struct.pack(">II", len(package), len(store)) + index + store
            database.execute("INSERT INTO Packages (blob) VALUES (?)", (header,))
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


def go_program(version: str = "go1.24.3", described: str = "", inline: bool = True) -> bytes:
    """An ELF file with Go's build information."""

    def string(raw: bytes) -> bytes:
        length, out = len(raw), b""
        while length >= 0x80:
            out, length = out + bytes([length & 0x7F | 0x80]), length >> 7
        return out + bytes([length]) + raw

    framed = b"s" * 16 + described.encode() + b"e" * 16 if described else b""
    head = b"\xff Go buildinf:" + bytes([8, 2 if inline else 0]) + b"\0" * 16
    return b"\x7fELF" + b"\0" * 60 + head + string(version.encode()) + string(framed)


def layer(folder: Path, files: Mapping[str, bytes | None], mode: int = 0o755) -> Path:
    """A layer; None: a whiteout's empty file."""
    file = folder / f"{len(list(folder.glob('*.tar')))}.tar"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, raw in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(raw or b""), mode
            archive.addfile(entry, io.BytesIO(raw or b""))
    return file


def inside(folder: Path, *layers: Mapping[str, bytes | None]) -> Contents:
    return combine([look_into(layer(folder, files)) for files in layers])


def purls(contents: Contents) -> list[str]:
    return [package.purl for package in contents.packages]


def test_each_kind_of_package_is_found(tmp_path: Path) -> None:
    modules = "path\tshop/cmd\nmod\tshop\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\ndep\tc.org/d\tv1.0.0\n" \
        "=>\tgithub.com/Fork/d\tv1.1.0\th1:y=\nbuild\tCGO_ENABLED=0\n"  # fmt: skip
    rpms = rpm_database(tmp_path, {1000: "bash", 1001: "5.2", 1002: "1.fc42", 1003: 1, 1022: "x86_64"},
                        {1000: "gpg-pubkey", 1001: "1", 1002: "2"})  # fmt: skip
    found = inside(
        tmp_path,
        {
            "./etc/os-release": DEBIAN,
            "./var/lib/dpkg/status": DPKG,
            "var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 2026a\nArchitecture: all\n",
            "lib/apk/db/installed": APK,
            "usr/lib/sysimage/rpm/rpmdb.sqlite": rpms,
            "srv/lib/python3.13/site-packages/Foo_Bar-1.0.dist-info/METADATA": b"Name: Foo_Bar\nVersion: 1.0\n\ntext",
            "srv/node_modules/left-pad/package.json": b'{"name": "left-pad", "version": "1.3.0"}',
            "srv/node_modules/@types/node/package.json": b'{"name": "@types/node", "version": "22.0.0"}',
            "srv/node_modules/a/node_modules/left-pad/package.json": b'{"name": "left-pad", "version": "1.1.0"}',
            "srv/node_modules/a/test/fixtures/package.json": b'{"name": "fixture", "version": "1.0.0"}',
            "srv/package.json": b'{"name": "shop", "version": "1.0.0"}',
            "usr/bin/shop": go_program(described=modules),
        },
    )
    assert found.gaps == ()
    assert purls(found) == [
        "pkg:apk/debian/busybox@1.37.0-r14?arch=x86_64&distro=debian-13",
        "pkg:apk/debian/musl@1.2.5-r9?arch=x86_64&distro=debian-13",
        "pkg:deb/debian/libc6@1:2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/tzdata@2026a?arch=all&distro=debian-13",
        "pkg:golang/shop",
        "pkg:golang/stdlib@1.24.3",
        "pkg:golang/github.com/fork/d@v1.1.0",
        "pkg:golang/github.com/a/b@v1.2.3",
        "pkg:npm/left-pad@1.1.0",
        "pkg:npm/left-pad@1.3.0",
        "pkg:npm/%40types/node@22.0.0",
        "pkg:pypi/foo-bar@1.0",
        "pkg:rpm/debian/bash@5.2-1.fc42?arch=x86_64&distro=debian-13&epoch=1",
    ]


def test_later_layers_override_earlier_ones(tmp_path: Path) -> None:
    first = {
        "var/lib/dpkg/status": DPKG,
        "a/node_modules/x/package.json": b'{"name": "x", "version": "1.0.0"}',
        "b/node_modules/y/package.json": b'{"name": "y", "version": "1.0.0"}',
        "c/node_modules/z/package.json": b'{"name": "z", "version": "1.0.0"}',
        "d/app.jar": b"PK",
    }
    upgraded = DPKG.replace(b"1:2.41-12+deb13u1", b"1:2.42")
    second: dict[str, bytes | None] = {
        "var/lib/dpkg/status": upgraded, ".wh.a": None, "b/node_modules/.wh..wh..opq": None,
        "b/node_modules/w/package.json": b'{"name": "w", "version": "2.0.0"}',
        "c/node_modules/z/.wh.package.json": None, "d/.wh.app.jar": None,
    }  # fmt: skip
    assert inside(tmp_path, first).gaps == ("Java archives",)
    found = inside(tmp_path, first, second)
    assert [(package.name, package.version) for package in found.packages] == [("libc6", "1:2.42"), ("w", "2.0.0")]
    assert found.gaps == ()


@pytest.mark.parametrize(
    ("files", "gap"),
    [
        ({"var/lib/rpm/Packages": b"\0\0\x05\x31\x62"}, "the RPM database is not SQLite"),
        ({"var/lib/rpm/rpmdb.sqlite": b"SQLite format 3\0" + b"x" * 100}, "the RPM database can't be read"),
        ({"var/lib/rpm/rpmdb.sqlite-wal": b"x"}, "a log of the RPM database"),
        ({"usr/bin/old": go_program(inline=False)}, "a Go program was built before Go 1.18"),
        ({"usr/bin/vendored": go_program(described="path\tx\nbuild\tCGO_ENABLED=0\n")}, "built without modules"),
        ({"usr/bin/broken": go_program(described="mod\tx\n")[:-5]}, "the build information of a Go program"),
        ({"srv/node_modules/x/package.json": b"{"}, "is not JSON"),
        ({"srv/app.jar": b"PK"}, "Java archives"),
        ({"usr/share/gems/specifications/x.gemspec": b"x"}, "Ruby gems"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, files: dict[str, bytes | None], gap: str) -> None:
    found = inside(tmp_path, files)
    assert found.packages == ()
    assert len(found.gaps) == 1
    assert gap in found.gaps[0]


def test_an_unread_layer_is_named() -> None:
    assert combine([UNKNOWN]).gaps == ("a layer compressed with zstd",)


def a_checkout(folder: Path) -> Checkout:
    version = parse_version("v1.0.0")
    assert version is not None
    at = datetime(2026, 11, 16, tzinfo=UTC)
    return Checkout(folder, "3f2a91c" + "0" * 33, "3f2a91c", at, version, None, "main", None, "Ana <a@b>")


IMAGE = Manifest(b"{}", "application/vnd.oci.image.manifest.v1+json")


@pytest.mark.parametrize(
    "contents",
    [
        Contents(),
        Contents(
            (
                Package("deb", "debian", "libc6", "1:2.41+b1", (("arch", "amd64"),)),
                Package("npm", "@types", "node", "22.0.0"),
                Package("golang", "github.com/a", "b", ""),
                Package("rpm", "fedora", "bash", "5.2-1~rc1^2", (("epoch", "1"),)),
            ),
            ("Java archives",),
        ),
    ],
    ids=["empty", "packages"],
)
def test_the_validator_accepts_the_document(tmp_path: Path, contents: Contents) -> None:
    document = sbom("rocketseat/widget-server", IMAGE, contents, a_checkout(tmp_path))
    file = tmp_path / "sbom.spdx.json"
    file.write_text(json.dumps(document))
    parsed = parse_file(str(file))
    assert [message.validation_message for message in validate_full_spdx_document(parsed)] == []
    kinds = [relationship.relationship_type.name for relationship in parsed.relationships]
    assert kinds == ["DESCRIBES", *["CONTAINS"] * len(contents.packages)]
    assert package_count(document) == len(contents.packages)
    comment = str(parsed.creation_info.creator_comment)
    assert ("Incomplete, not read: Java archives" in comment) == bool(contents.gaps)


def test_the_same_build_gives_the_same_document(tmp_path: Path) -> None:
    contents = Contents((Package("deb", "debian", "libc6", "2.41"),))
    one, other = (sbom("app", IMAGE, contents, a_checkout(tmp_path)) for _ in range(2))
    assert one == other


SPDX_DOCUMENT = {
    "spdxVersion": "SPDX-2.3",
    "packages": [{"SPDXID": "SPDXRef-image"}, {"SPDXID": "SPDXRef-1"}],
    "relationships": [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image"}
    ],
}


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (SPDX_DOCUMENT, 1),
        ({**SPDX_DOCUMENT, "packages": [{"SPDXID": "SPDXRef-image"}]}, 0),
        ({"spdxVersion": "SPDX-2", "packages": [{"SPDXID": "a"}, {"SPDXID": "b"}], "documentDescribes": ["a", "b"]}, 2),
        ({"spdxVersion": "SPDX-2.3", "files": [{"SPDXID": "f"}]}, 0),
        ({"predicateType": "https://spdx.dev/Document", "predicate": SPDX_DOCUMENT}, 1),
        ({"bomFormat": "CycloneDX", "components": [{"type": "library"}, {"type": "operating-system"}]}, 1),
        ({"bomFormat": "CycloneDX"}, 0),
        ({"bomFormat": "CycloneDX", "components": None}, 0),
        ({"bomFormat": "CycloneDX", "components": [{"type": "container"}, {"type": "platform"}]}, 0),
        ({"bomFormat": "CycloneDX", "components": [{"type": "container", "components": [{"type": "library"}]}]}, 1),
        ({"spdxVersion": "SPDX-2.3", "packages": [
            {"SPDXID": "a", "primaryPackagePurpose": "CONTAINER"},
            {"SPDXID": "b", "primaryPackagePurpose": "OPERATING-SYSTEM"}]}, 0),
        ({**SPDX_DOCUMENT, "relationships": [
            {"spdxElementId": "SPDXRef-image", "relationshipType": "DESCRIBED_BY",
             "relatedSpdxElement": "SPDXRef-DOCUMENT"}]}, 1),
        ({"artifacts": [], "descriptor": {"name": "syft"}}, 0),
        ({"artifacts": [{"name": "a"}], "descriptor": {"name": "syft"}}, 1),
        ({"something": "else"}, None),
        ([], None),
    ],
)  # fmt: skip
def test_the_packages_of_an_sbom_are_counted(document: Any, count: int | None) -> None:
    assert package_count(document) == count


def test_the_count_needs_no_depth_of_calls() -> None:
    document: Any = SPDX_DOCUMENT
    for number in range(5000):
        document = {"dsseEnvelope" if number % 2 else "predicate": document}
    assert package_count(document) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "no JSON"),
        ("[]", "expected an object"),
        ("{}", "neither SPDX"),
        (json.dumps({"bomFormat": "CycloneDX", "components": []}), "names no package"),
    ],
)
def test_an_invalid_sbom_file_is_bad_input(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "sbom.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=words):
        read(file)


def test_a_scanners_file_is_used_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    file.write_text(json.dumps(SPDX_DOCUMENT))
    assert read(file) == (SPDX, SPDX_DOCUMENT)
    cyclonedx = {"bomFormat": "CycloneDX", "components": [{"type": "library", "name": "a"}]}
    file.write_text(json.dumps(cyclonedx))
    assert read(file) == (CYCLONEDX, cyclonedx)
    with pytest.raises(BadInput, match="No such file"):
        read(tmp_path / "nowhere")
