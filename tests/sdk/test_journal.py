"""The durable log on the real file system."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path

import pytest

from desirepath.errors import LogError, LogFullError, LogHeldError
from desirepath.journal import Journal, Position


def everything(log: Journal) -> list[bytes]:
    """All pending records, without acknowledging."""
    records: list[bytes] = []
    after: Position | None = None
    while True:
        batch = log.read(7, 1 << 20, after=after)
        if not batch.records:
            return records
        records += batch.records
        after = batch.end


def test_records_come_back_in_order_across_segments_and_lives(tmp_path: Path) -> None:
    payloads = [b"%d" % n * (n % 50) for n in range(500)]
    with Journal.open(tmp_path, segment_bytes=1024) as log:
        for payload in payloads[:250]:
            log.append(payload)
        log.append_many(payloads[250:])
        assert everything(log) == payloads
        assert log.pending_records == 500
        assert log.pending_bytes == sum(map(len, payloads)) + 10 * 500
    assert len(list(tmp_path.glob("*.log"))) > 5
    with Journal.open(tmp_path, segment_bytes=1024) as log:
        assert everything(log) == payloads
        assert log.pending_records == 500


def test_acknowledged_records_do_not_come_back_and_their_segments_go(tmp_path: Path) -> None:
    with Journal.open(tmp_path, segment_bytes=256) as log:
        places = [log.append(b"%03d" % n) for n in range(100)]
        log.acknowledge(places[59])
        assert log.pending_records == 40
        log.acknowledge(places[10])  # backwards: nothing happens
        assert everything(log) == [b"%03d" % n for n in range(60, 100)]
    with Journal.open(tmp_path, segment_bytes=256) as log:
        assert log.pending_records == 40
        assert everything(log) == [b"%03d" % n for n in range(60, 100)]
        while (batch := log.read(9)).records:
            log.acknowledge(batch.end)
        assert (log.pending_records, log.pending_bytes) == (0, 0)
        assert not list(tmp_path.glob("*.log"))
        assert log.append(b"x") > places[-1], "positions are never reused"


def test_it_is_owned_by_one(tmp_path: Path) -> None:
    with Journal.open(tmp_path), pytest.raises(LogHeldError, match="in use by another process"):
        Journal.open(tmp_path)
    Journal.open(tmp_path).close()


def test_the_bound_holds_and_a_refused_append_leaves_no_trace(tmp_path: Path) -> None:
    with Journal.open(tmp_path, max_bytes=100) as log:
        place = log.append(b"x" * 50)
        with pytest.raises(LogFullError):
            log.append(b"y" * 50)
        with pytest.raises(LogFullError):
            log.append_many([b"y"] * 20)
        assert everything(log) == [b"x" * 50]
        log.acknowledge(place)
        log.append(b"y" * 50)
        assert everything(log) == [b"y" * 50]


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    log = Journal.open(tmp_path)
    for n in range(10):
        log.append(b"record %d" % n)
    log.close()
    (segment,) = tmp_path.glob("*.log")
    segment.write_bytes(segment.read_bytes()[:-3])
    with Journal.open(tmp_path) as log:
        assert everything(log) == [b"record %d" % n for n in range(9)]
        assert log.damaged == 1
        log.append(b"next")
        assert everything(log)[-1] == b"next"
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    with Journal.open(tmp_path) as log:
        assert log.damaged == 0, "what was set aside is counted once"
        assert len(everything(log)) == 10


@pytest.mark.parametrize("where", [0, 2, 8, 12])
def test_damage_in_the_middle_costs_one_record(tmp_path: Path, where: int) -> None:
    log = Journal.open(tmp_path)
    places = [log.append(b"record %d" % n) for n in range(10)]
    log.close()
    (segment,) = tmp_path.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[places[4].offset + where] ^= 0x10
    segment.write_bytes(data)
    expected = [b"record %d" % n for n in range(10) if n != 5]
    for damaged in (1, 0):
        with Journal.open(tmp_path) as log:
            assert everything(log) == expected
            assert (log.damaged, log.pending_records) == (damaged, 9)
            if not damaged:
                before, behind = log.read(7), log.read(2, after=log.read(7).end)
                assert before.records + behind.records == expected[:7]
                log.acknowledge(behind.end)
                assert log.pending_records == 2
    with Journal.open(tmp_path) as log:
        assert everything(log) == [b"record 8", b"record 9"]
        assert log.pending_records == 2


def test_a_foreign_file_in_the_folder_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / f"{3:016x}.log").write_bytes(b"DPLG\x09\x00 of a newer version, or rubbish")
    with Journal.open(tmp_path) as log:
        log.append(b"x")
        assert everything(log) == [b"x"]
        assert log.damaged == 1
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == [f"{3:016x}.log"]


def test_a_record_larger_than_a_segment_or_a_batch(tmp_path: Path) -> None:
    with Journal.open(tmp_path, segment_bytes=1024) as log:
        log.append_many([b"a" * 10, b"b" * 300_000, b"c"])
        assert [len(r) for r in log.read(10, 100).records] == [10]
        assert everything(log) == [b"a" * 10, b"b" * 300_000, b"c"]
        first = log.read(1, 1)
        assert log.read(10, 5, after=first.end).records == [b"b" * 300_000]


def test_threads_append_while_one_reads(tmp_path: Path) -> None:
    log = Journal.open(tmp_path, segment_bytes=4096)
    seen: list[bytes] = []

    def write(name: int) -> None:
        for n in range(500):
            log.append(b"%d:%d" % (name, n))
            if n % 100 == 0:
                log.sync()

    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()
    while len(seen) < 2000:
        batch = log.read(50)
        seen += batch.records
        if batch.records:
            log.acknowledge(batch.end)
    for writer in writers:
        writer.join()
    for name in range(4):
        assert [r for r in seen if r.startswith(b"%d:" % name)] == [
            b"%d:%d" % (name, n) for n in range(500)
        ]
    assert log.pending_records == 0
    log.close()


def test_segments_are_sealed_by_age(tmp_path: Path) -> None:
    with Journal.open(tmp_path, max_segment_age_s=0.0) as log:
        assert log.append(b"a").segment < log.append(b"b").segment


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = Journal.open(tmp_path)
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.append(b"x")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="cannot use"):
        Journal.open(tmp_path / "file" / "log")


def test_what_version_1_wrote_stays_readable(tmp_path: Path) -> None:
    """Bytes as version 1 wrote them; a reader of any later version must still take them."""
    segment = (
        "44504c47010000000700000000000000888ca97c9b01000078f04d64"  # header of segment 7
        "a7d105000000be6c866c6669727374"  # "first"
        "a7d10000000078f04d64"  # an empty record
        "a7d1070000001a6f873fa7d17468697264"  # the marker's bytes and "third"
    )
    (tmp_path / f"{7:016x}.log").write_bytes(bytes.fromhex(segment) + bytes(100))
    with Journal.open(tmp_path) as log:
        assert everything(log) == [b"first", b"", b"\xa7\xd1third"]
    cursor = "4450435201000000050000000000000007000000000000002b00000000000000"
    cursor += "010000000000000001059419"  # slot 1: behind the first record
    (tmp_path / "cursor").write_bytes(bytes(64) + bytes.fromhex(cursor).ljust(64, b"\0"))
    with Journal.open(tmp_path) as log:
        assert everything(log) == [b"", b"\xa7\xd1third"]
        assert (log.damaged, log.pending_records) == (0, 2)


def test_damage_that_comes_while_the_log_is_open(tmp_path: Path) -> None:
    """A bit that flips in a sealed segment costs its record; a removed segment what it held."""
    with Journal.open(tmp_path, segment_bytes=200) as log:
        places = [log.append(b"record %02d" % n) for n in range(30)]
        log.seal()
        log.sync()
        segments = sorted(tmp_path.glob("*.log"))
        data = bytearray(segments[0].read_bytes())
        data[places[1].offset + 12] ^= 1
        segments[0].write_bytes(data)
        segments[1].unlink()
        held = [n for n in range(30) if places[n].segment == places[0].segment + 1]
        expected = [b"record %02d" % n for n in range(30) if n != 2 and n not in held]
        assert everything(log) == expected
        assert everything(log) == expected
        assert (log.damaged, log.missing) == (1, len(held))
        while (batch := log.read(3)).records:
            log.acknowledge(batch.end)
        assert (log.pending_records, log.pending_bytes) == (0, 0)


def test_a_folder_is_removed_only_when_nothing_waits_in_it(tmp_path: Path) -> None:
    log = Journal.open(tmp_path / "log")
    place = log.append(b"x")
    log.remove()
    log = Journal.open(tmp_path / "log")
    log.acknowledge(place)
    log.remove()
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("name", ["cursor", "0000000000000001.log"])
def test_what_a_newer_version_wrote_is_left_alone(tmp_path: Path, name: str) -> None:
    with Journal.open(tmp_path) as log:
        log.append(b"one")
        log.append(b"two")
        log.acknowledge(log.read(1).end)
    size = 40 if name == "cursor" else 24
    raw = bytearray((tmp_path / name).read_bytes())
    for start in (0, 64) if name == "cursor" else (0,):
        if raw[start : start + 2] == b"DP":
            raw[start + 4] = 2
            check = zlib.crc32(raw[start : start + size]).to_bytes(4, "little")
            raw[start + size : start + size + 4] = check
    (tmp_path / name).write_bytes(raw)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*") if path.name != "lock"}
    with pytest.raises(LogError, match="newer version"):
        Journal.open(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*") if path.name != "lock"}
    assert after == before


def test_a_cursor_that_is_none_is_set_aside(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as log:
        log.append(b"one")
    (tmp_path / "cursor").write_bytes(b"x" * 128)
    with Journal.open(tmp_path) as log:
        assert log.read().records == [b"one"]
        log.acknowledge(log.read().end)
    assert (tmp_path / "damaged" / "cursor").read_bytes() == b"x" * 128
