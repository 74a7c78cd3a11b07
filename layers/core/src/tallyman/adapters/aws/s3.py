"""The archive on S3: objects named by the SHA-256 of their bytes, written once."""

from typing import Any

from botocore.exceptions import ClientError

from tallyman.adapters.errors.translate import code_of, translate, translated
from tallyman.domain.names import Digest
from tallyman.domain.permissions import permissions
from tallyman.errors import DigestMismatch


class S3Objects:
    """Reads `<folder>/<64 hexadecimal digits>` in a versioned bucket.

    Without s3:ListBucket S3 answers a missing key with 403 instead of 404, and `get` could not tell the two.
    """

    PERMISSIONS: tuple[str, ...] = permissions("s3:GetObject")

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def get(self, folder: str, digest: Digest) -> bytes | None:
        what = f"read {folder}/{digest.hex} from the archive"
        try:
            with translated(what):
                raw = bytes(self._client.get_object(Bucket=self._bucket, Key=f"{folder}/{digest.hex}")["Body"].read())
        except Exception as error:
            if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "NoSuchKey":
                return None
            raise
        if Digest.of(raw) != digest:
            raise DigestMismatch(f"{what}: its bytes hash to {Digest.of(raw).short}")
        return raw


class S3Archive(S3Objects):
    """Reads and writes them: each once."""

    PERMISSIONS: tuple[str, ...] = permissions("s3:GetObject", "s3:PutObject")

    def put(self, folder: str, raw: bytes) -> Digest:
        """One conditional PutObject (If-None-Match); that the object is there already is what it says."""
        digest = Digest.of(raw)
        what = f"archive {folder}/{digest.hex}"
        try:
            self._client.put_object(Bucket=self._bucket, Key=f"{folder}/{digest.hex}", Body=raw, IfNoneMatch="*")
        except ClientError as error:
            if code_of(error) not in ("PreconditionFailed", "412"):
                raise translate(error, what) from error
        except Exception as error:
            raise translate(error, what) from error
        return digest
