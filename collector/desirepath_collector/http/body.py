"""Request bodies: inflated within bounds, and unwrapped from text and forms.

The HTTP library is told to leave compressed bodies alone, because its inflater goes on after it
refused a bomb, takes a truncated stream as whole and fails on a corrupt one. Here no more than
one byte above the limit is ever inflated, and a stream must end exactly where its body does.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode
from typing import Final
from urllib.parse import parse_qs

from desirepath_collector.http.answers import Refusal

__all__ = ["inflate", "unwrap"]

_GZIP: Final = 16 + zlib.MAX_WBITS
_JSON_TYPES: Final = ("application/json", "text/plain", "text/json", "application/x-ndjson")
_FORM: Final = "application/x-www-form-urlencoded"
_BINARY: Final = "application/octet-stream"


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a Content-Encoding.

    Raises
    ------
    Refusal
        `too_large` above `max_bytes`, `bad_encoding` for what is not a whole stream,
        `unsupported_type` for an encoding other than gzip and deflate.
    """
    if not encoding or encoding == "identity":
        inflated = body
    elif encoding in ("gzip", "x-gzip"):
        inflated = _inflate(body, _GZIP, max_bytes)
    elif encoding == "deflate":
        # RFC 9110 means zlib's format; some clients send the bare stream.
        zlib_format = (
            len(body) >= 2 and (body[0] & 0x0F) == 8 and (body[0] << 8 | body[1]) % 31 == 0
        )
        inflated = _inflate(body, zlib.MAX_WBITS if zlib_format else -zlib.MAX_WBITS, max_bytes)
    else:
        raise Refusal("unsupported_type", f"unknown Content-Encoding {encoding!r}", hint="gzip")
    if len(inflated) > max_bytes:
        raise _over(max_bytes)
    return inflated


def _inflate(body: bytes, wbits: int, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(wbits)
    try:
        inflated = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise Refusal("bad_encoding", f"the compressed body is corrupt: {error}") from None
    if len(inflated) > max_bytes:
        raise _over(max_bytes)
    if not inflater.eof:
        raise Refusal("bad_encoding", "the compressed body ends too early")
    if inflater.unused_data:
        raise Refusal("bad_encoding", "something follows the compressed body")
    return inflated


def _over(max_bytes: int) -> Refusal:
    return Refusal("too_large", f"the body is over {max_bytes} bytes inflated")


def unwrap(body: bytes, content_type: str) -> bytes:
    """The JSON in a body, by its content type.

    Browsers send JSON as text/plain to save a preflight, and rudder-sdk-node sends gzipped JSON
    under the form type; a real form carries the JSON in its field `data`, plain or in base64.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not kind or kind in _JSON_TYPES or kind == _BINARY or kind.endswith("+json"):
        return body
    if kind != _FORM:
        raise Refusal("unsupported_type", f"cannot take {kind}", hint="send application/json")
    if body.lstrip()[:1] in (b"{", b"["):
        return body
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=100)
    except (UnicodeDecodeError, ValueError):
        raise Refusal("malformed", "the form cannot be read") from None
    if "data" not in fields:
        raise Refusal("malformed", "the form has no field `data`")
    data = fields["data"][0].encode()
    if data.lstrip()[:1] == b"{":
        return data
    try:
        # A plus sign of the base64 alphabet arrives as a space where the client forgot to quote.
        return b64decode(data.replace(b" ", b"+"), validate=True)
    except binascii.Error:
        raise Refusal("malformed", "the form's `data` is neither JSON nor base64") from None
