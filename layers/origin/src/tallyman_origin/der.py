"""Convert the DER of timestamps for their library: a token to a response, and certificates to DER's order."""

from collections.abc import Iterator

_GRANTED = bytes.fromhex("3003020100")
"""PKIStatusInfo: granted."""
_SEQUENCE, _CERTIFICATES = 0x30, 0xA0
_TO_SIGNED_DATA = (1, 1, 0)
"""The indexes of the token in a response, of the content in a token, and of SignedData in the content."""

Element = tuple[int, int, int]
"""The offsets of an element's start, of its content, and of its end."""


def response_of(token: bytes) -> bytes:
    """The response of an authority that contains this timestamp token."""
    inner = _GRANTED + token
    size = len(inner)
    if size < 128:
        return bytes([_SEQUENCE, size]) + inner
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([_SEQUENCE, 0x80 + len(length)]) + length + inner


def in_order(response: bytes) -> bytes:
    """The response with its certificates in the order that DER requires. Some authorities send another order, which the
    library refuses; no signature covers it. Anything else is returned unchanged."""
    try:
        (_, start, end) = next(_elements(response, 0, len(response)))
        for place in _TO_SIGNED_DATA:
            _, start, end = list(_elements(response, start, end))[place]
        for first, begin, stop in list(_elements(response, start, end))[3:]:
            if response[first] == _CERTIFICATES:
                found = sorted(response[each:after] for each, _, after in _elements(response, begin, stop))
                return response[:begin] + b"".join(found) + response[stop:]
    except (IndexError, StopIteration):
        pass
    return response


def _elements(der: bytes, at: int, end: int) -> Iterator[Element]:
    """The elements between two offsets. Raises IndexError where one is truncated."""
    while at < end:
        size, start = der[at + 1], at + 2
        if size & 0x80:
            more = size & 0x7F
            size, start = int.from_bytes(der[start : start + more]), start + more
        if start + size > end:
            raise IndexError
        yield at, start, start + size
        at = start + size
