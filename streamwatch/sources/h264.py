"""What the headers of H.264 pictures say of pictures that are missing: FFmpeg fills such gaps with copies, silently.

Names and syntax are those of ITU-T H.264, clauses 7.3 and 7.4. Only what precedes `frame_num` is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SLICE, _IDR, _SEI, _SPS, _PPS = 1, 5, 6, 7, 8
_RECOVERY_POINT = 6
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_HEADER_BYTES = 64
"""Of a slice, more than its `frame_num` can lie behind."""


@dataclass(frozen=True, slots=True)
class _Sequence:
    frame_num_bits: int
    colour_planes: bool
    gaps_allowed: bool


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """gap: reference pictures before it are missing. recovery: pictures from here until all is refreshed, where a
    recovery point is here.
    """

    gap: bool = False
    recovery: int | None = None


class HeaderReader:
    """Reads the headers of the packets of one stream, in order of decoding. extradata: as FFmpeg has it, or empty."""

    def __init__(self, extradata: bytes) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._sequence_of: dict[int, int] = {}
        self._before: int | None = None
        self._length_size = (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else 0
        for unit in _configured(extradata) if self._length_size else _split(extradata):
            self._parameters(unit)

    def read(self, packet: bytes) -> PictureHeader:
        """What the next packet says; nothing where it cannot be understood."""
        recovery = None
        units = _prefixed(packet, self._length_size) if self._length_size else _split(packet)
        try:
            for unit in units:
                kind = unit[0] & 31
                if kind == _SEI:
                    recovery = _recovery(unit, recovery)
                elif kind in (_SLICE, _IDR):
                    return PictureHeader(self._gap(unit), recovery)
                else:
                    self._parameters(unit)
        except (IndexError, KeyError):
            self._before = None
        return PictureHeader(recovery=recovery)

    def _parameters(self, unit: bytes) -> None:
        try:
            if unit[0] & 31 == _SPS:
                number, sequence = _sequence(unit)
                self._sequences[number] = sequence
            elif unit[0] & 31 == _PPS:
                bits = _Bits(unit[1:_HEADER_BYTES])
                picture = bits.exp_golomb()
                self._sequence_of[picture] = bits.exp_golomb()
        except IndexError:
            return

    def _gap(self, unit: bytes) -> bool:
        bits = _Bits(unit[1:_HEADER_BYTES])
        bits.exp_golomb()  # first_mb_in_slice
        bits.exp_golomb()  # slice_type
        sequence = self._sequences[self._sequence_of[bits.exp_golomb()]]
        if sequence.colour_planes:
            bits.take(2)
        number, period = bits.take(sequence.frame_num_bits), 1 << sequence.frame_num_bits
        before = number if unit[0] & 31 == _IDR or self._before is None else self._before
        gap = not sequence.gaps_allowed and (number - before) % period > 1
        if unit[0] & 0x60:
            self._before = number
        elif gap or self._before is None:
            self._before = (number - 1) % period
        return gap


class _Bits:
    """The bits of a NAL unit without its first byte; raises IndexError behind their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._at = 0

    def take(self, number: int) -> int:
        value = 0
        for _ in range(number):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise IndexError("no Exp-Golomb code")
        return (1 << zeros) - 1 + self.take(zeros)


def _sequence(unit: bytes) -> tuple[int, _Sequence]:
    profile = unit[1]
    bits = _Bits(unit[4:])
    number, colour_planes = bits.exp_golomb(), False
    if profile in _HIGH_PROFILES:
        chroma = bits.exp_golomb()
        if chroma == 3:
            colour_planes = bool(bits.take(1))
        bits.exp_golomb()
        bits.exp_golomb()
        bits.take(1)
        if bits.take(1):
            for matrix in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if matrix < 6 else 64)
    frame_num_bits = bits.exp_golomb() + 4
    order = bits.exp_golomb()
    if order == 0:
        bits.exp_golomb()
    elif order == 1:
        bits.take(1)
        bits.exp_golomb()
        bits.exp_golomb()
        for _ in range(min(256, bits.exp_golomb())):
            bits.exp_golomb()
    bits.exp_golomb()  # max_num_ref_frames
    return number, _Sequence(min(16, frame_num_bits), colour_planes, bool(bits.take(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.exp_golomb()
            following = (last + (code + 1 >> 1 if code & 1 else -(code >> 1))) % 256
        last = following or last


def _recovery(unit: bytes, default: int | None) -> int | None:
    """`recovery_frame_cnt`, where one of the messages is a recovery point."""
    data = unit[1:].replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(data):
        values = [0, 0]  # payload type, payload size
        for number in range(2):
            while data[at] == 255:
                values[number] += 255
                at += 1
            values[number] += data[at]
            at += 1
        if values[0] == _RECOVERY_POINT:
            return _Bits(data[at : at + 8]).exp_golomb()
        at += values[1]
    return default


def _split(data: bytes) -> Iterator[bytes]:
    """The NAL units between start codes."""
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        unit = data[begin + 3 : end if end >= 0 else len(data)]
        if unit:
            yield unit
        begin = end


def _prefixed(data: bytes, size: int) -> Iterator[bytes]:
    """The NAL units behind their lengths."""
    at = 0
    while at + size < len(data):
        length = int.from_bytes(data[at : at + size], "big")
        if length:
            yield data[at + size : at + size + length]
        at += size + length


def _configured(record: bytes) -> Iterator[bytes]:
    """The parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15)."""
    at = 5
    for mask in (31, 255):
        if at >= len(record):
            return
        number = record[at] & mask
        at += 1
        for _ in range(number):
            length = int.from_bytes(record[at : at + 2], "big")
            if length:
                yield record[at + 2 : at + 2 + length]
            at += 2 + length
