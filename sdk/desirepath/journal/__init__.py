"""The durable log: records that survive the process, in order, until they are acknowledged.

One implementation serves the SDK's queue and the collector's spool. What must always hold:

- A record is wholly there or not at all; what `sync` returned for is there after a power cut.
- `append` puts records where a killed process cannot lose them (the operating system's page
  cache); only `sync` protects against the machine's own death.
- A failed fsync is final: the segment is closed, nothing in it since the last good one counts as
  synced, its descriptor is not asked again (Linux reports a write-back error once, then forgets
  it), and the next append begins a new segment.
- When the bound or the disk is full, nothing is written and `LogFullError` says so.
- Opening always succeeds on a folder that can be read and written: a torn tail is cut, damaged
  bytes are copied to `damaged/` and counted, and the records around them are kept.
- Appending never continues a segment of an earlier life, and the number of a segment that was
  durable is never used again, so the `Position` of a synced record names one place for ever.

Any thread may append, sync and seal. One thread at a time reads and acknowledges.

Folder::

    lock                    flock of the owner; its process id, for people
    cursor                  how far everything is acknowledged
    <sequence, 16 hex>.log  segments
    damaged/                bytes that could not be read, one file a stretch

Format, version 1. All numbers are little-endian; crc is CRC-32 (zlib).

Segment = header, records, then nothing or zeros (segments are allocated ahead)::

    header   magic "DPLG" | version u16 | reserved u16 | sequence u64 | created ms u64 | crc u32
    record   marker A7 D1 | length u32 | crc u32 | payload

The header's crc covers its other bytes. A record's crc is that of its payload, started from
(header crc XOR length), so that neither zeros nor the bytes of another segment pass for a record.
The marker cannot occur in UTF-8 text: behind damage the next record is found by searching for it.

Cursor = two slots of 64 bytes; the valid one of the higher generation counts, and the newest that
is durable is never overwritten::

    slot     magic "DPCR" | version u16 | reserved u16 | generation u64 |
             segment u64 | offset u64 | index u64 | crc u32

Every version keeps the places of magic, version and crc. Where a whole header or slot names a later
version, the folder is not opened and stays as it is; anything else that is unknown is not guessed
at: it is moved to `damaged/`.
"""

from desirepath.journal._files import DiskFileSystem, File, FileSystem
from desirepath.journal._format import Position
from desirepath.journal._log import Journal
from desirepath.journal._reading import Batch

__all__ = ["Batch", "DiskFileSystem", "File", "FileSystem", "Journal", "Position"]
