"""A registry that discards blobs, to measure clients without the limits of a receiver. Linux only.

python bench/copy_sink.py PORT
"""

import hashlib
import io
import socket
import sys
import threading

MANIFESTS: dict[str, tuple[bytes, str]] = {}
_BUFFER = 1 << 20
_TLS = b"\x16"  # the first byte of a TLS handshake


def serve(connection: socket.socket) -> None:
    """Serve one connection. The kernel discards bodies (MSG_TRUNC), so that this process is not the limit."""
    file = io.BufferedReader(connection.makefile("rb", 0), 65536)
    junk = bytearray(_BUFFER)
    if file.peek(1)[:1] == _TLS:  # crane tries TLS first, and waits 0.3 s where it gets no answer
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        return

    def discard(count: int) -> None:
        ahead = file.read(min(count, len(file.peek(1)))) if count else b""
        count -= len(ahead)
        while count:
            got = connection.recv_into(junk, min(count, _BUFFER), socket.MSG_TRUNC)
            if not got:
                raise EOFError
            count -= got

    while line := file.readline():
        method, path, _ = line.decode().split(" ", 2)
        headers = {}
        while (header := file.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        if "/manifests/" in path and method == "PUT":
            body = file.read(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            discard_chunked(connection, file.read(len(file.peek(1))), junk)
        else:
            discard(int(headers.get("content-length", 0)))
        connection.sendall(answer(method, path, body, headers))


def discard_chunked(connection: socket.socket, ahead: bytes, junk: bytearray) -> None:
    """Read a chunked body to its end, many chunks at a time: one by one would be slower than the sender."""
    data, end = bytearray(ahead), len(ahead)
    left, line, last = 0, b"", False  # `left`: bytes of the chunk and the line end after it
    while True:
        at = 0
        while at < end:
            if left:
                step = min(left, end - at)
                at, left = at + step, left - step
                if last and not left:
                    return
                continue
            newline = data.find(b"\n", at, end)
            line += bytes(data[at : newline + 1 if newline >= 0 else end])
            if newline < 0:
                break
            size = int(line, 16)
            at, left, line, last = newline + 1, size + 2, b"", not size
        end = connection.recv_into(junk)
        data = junk
        if not end:
            raise EOFError


def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The answer to a request, with its body only for a manifest."""
    name, _, rest = path.split("?")[0].removeprefix("/v2/").rpartition("/manifests/")
    if name:
        if method == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            MANIFESTS[f"{name}/{digest}"] = MANIFESTS[f"{name}/{rest}"] = body, headers.get("content-type", "")
            return head(201, f"Docker-Content-Digest: {digest}\r\nLocation: {path}\r\n")
        raw, kind = MANIFESTS.get(f"{name}/{rest}", (b"", ""))
        if not raw:
            return head(404)
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        head_ = head(200, f"Docker-Content-Digest: {digest}\r\nContent-Type: {kind}\r\n", len(raw))
        return head_ if method == "HEAD" else head_ + raw
    if path == "/forget":
        MANIFESTS.clear()
        return head(200)
    if "/blobs/uploads/" in path:
        place = path.split("?")[0].rstrip("/")
        if method == "POST":
            return head(202, f"Location: {place}/1\r\nRange: 0-0\r\nDocker-Upload-UUID: 1\r\n")
        if method == "PATCH":
            return head(202, f"Location: {place}\r\nRange: 0-1\r\nDocker-Upload-UUID: 1\r\n")
        return head(201, f"Location: {place}\r\n")
    return head(200 if path in ("/v2", "/v2/") else 404)


def head(status: int, more: str = "", length: int = 0) -> bytes:
    """Status line and headers."""
    version = "Docker-Distribution-Api-Version: registry/2.0\r\n"
    return f"HTTP/1.1 {status} X\r\n{version}{more}Content-Length: {length}\r\n\r\n".encode()


def quietly(connection: socket.socket) -> None:
    """Serve a connection until the client closes it."""
    try:
        with connection:
            serve(connection)
    except (OSError, EOFError, ValueError):
        return


def main() -> None:
    """Run until it is stopped."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=quietly, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
