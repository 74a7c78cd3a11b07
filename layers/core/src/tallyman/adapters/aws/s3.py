"""The archive on S3: objects named by the SHA-256 of their bytes, and the seal's numbered segments. Each is written
once."""

from collections import Counter
from typing import Any

from botocore.exceptions import ClientError

from tallyman.adapters.errors.translate import code_of, translated
from tallyman.domain.names import Digest
from tallyman.domain.permissions import permissions
from tallyman.errors import DigestMismatch


class S3Objects:
    """Reads `<folder>/<64 hexadecimal digits>` in a versioned bucket.

    Without s3:ListBucket S3 answers a missing key with 403 instead of 404, and `get` could not distinguish the two.
    """

    PERMISSIONS: tuple[str, ...] = permissions("s3:GetObject")

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def get(self, folder: str, digest: Digest) -> bytes | None:
        raw = _get(self._client, self._bucket, f"{folder}/{digest.hex}")
        if raw is not None and Digest.of(raw) != digest:
            raise DigestMismatch(
                f"read {folder}/{digest.hex} from the archive: its bytes hash to {Digest.of(raw).short}"
            )
        return raw


class S3Archive(S3Objects):
    """Reads objects, and writes each once."""

    PERMISSIONS: tuple[str, ...] = permissions("s3:GetObject", "s3:PutObject")

    def put(self, folder: str, raw: bytes) -> Digest:
        """One conditional PutObject (If-None-Match). An object of that name holds these bytes already: no error."""
        digest = Digest.of(raw)
        _put(self._client, self._bucket, f"{folder}/{digest.hex}", raw)
        return digest


class S3Seals:
    """Segments at `seals/<number>`, ten digits. The first writer of a number wins; `write` returns False to the others.
    A later version of an object shows as a broken chain. `ArchiveLockDays` locks segments like the rest of the
    archive."""

    PERMISSIONS: tuple[str, ...] = permissions("s3:GetObject", "s3:PutObject")
    FOLDER = "seals"

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def read(self, number: int) -> bytes | None:
        return _get(self._client, self._bucket, f"{self.FOLDER}/{number:010d}")

    def write(self, number: int, raw: bytes) -> bool:
        return _put(self._client, self._bucket, f"{self.FOLDER}/{number:010d}", raw)


class S3SealList(S3Seals):
    """The segments with their versions, for `tallyman audit ledger`: only people use it."""

    PERMISSIONS: tuple[str, ...] = permissions("s3:GetObject", "s3:ListObjectVersions")

    def versions(self) -> dict[int, int]:
        ask, found = {"Bucket": self._bucket, "Prefix": f"{self.FOLDER}/"}, Counter[int]()
        while True:
            with translated("list the seal's segments"):
                answer = self._client.list_object_versions(**ask)
            for each in (*answer.get("Versions", []), *answer.get("DeleteMarkers", [])):
                name = each["Key"].removeprefix(ask["Prefix"])
                if name.isascii() and name.isdecimal():
                    found[int(name)] += 1
            if not answer.get("IsTruncated"):
                return dict(found)
            ask |= {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}


def _get(client: Any, bucket: str, key: str) -> bytes | None:
    """An object's bytes, or None."""
    with translated(f"read {key} from the archive"):
        try:
            return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            if code_of(error) != "NoSuchKey":
                raise
            return None


def _put(client: Any, bucket: str, key: str, raw: bytes) -> bool:
    """One conditional PutObject (If-None-Match). False: an object of this name exists already."""
    with translated(f"archive {key}"):
        try:
            client.put_object(Bucket=bucket, Key=key, Body=raw, IfNoneMatch="*")
            return True
        except ClientError as error:
            if code_of(error) not in ("PreconditionFailed", "412"):
                raise
            return False
