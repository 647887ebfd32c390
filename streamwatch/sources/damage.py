"""Which pictures damage has spoiled: each one that is decoded after it, up to the next picture that needs no other."""

from __future__ import annotations

import bisect

PATIENCE = 30.0
"""Seconds after which pictures are taken for whole again where neither a key frame nor a recovery point has come: as
long as cameras that refresh their pictures bit by bit need at most, and twice as long as most leave between key frames.
Where key frames have come further apart, it is twice that distance."""


class DamageTracker:
    """Packets are numbered in order of decoding, and pictures have the number of the packet that they came in.

    patience: see `PATIENCE`, in pictures. count: damaged packets and pictures so far.
    """

    def __init__(self, patience: int) -> None:
        self.count = 0
        self._patience = patience
        self._damages: list[int] = []
        self._shown: set[int] = set()
        self._recoveries: list[tuple[int, int]] = []
        self._last_key: int | None = None

    def note(self, number: int, *, counted: bool = True) -> None:
        """The packet, or its picture, is damaged. counted: whether `count` is to include it."""
        place = bisect.bisect_left(self._damages, number)
        if place == len(self._damages) or self._damages[place] != number:
            self._damages.insert(place, number)
            self.count += counted

    def note_recovery(self, number: int, pictures: int) -> None:
        """From this packet on pictures are refreshed bit by bit, and whole so many pictures later."""
        if self._damages:
            self._recoveries.append((number, number + pictures))

    def spoils(self, number: int, *, key: bool) -> bool:
        """Whether a picture is spoiled. To be asked once for each, in order of presentation. key: it needs no other."""
        damages = self._damages
        if key and not self._holds(number):
            # What was shown before a key frame is not referred to after it, even where it is decoded later.
            damages = [damage for damage in damages if damage > number and damage not in self._shown]
            if self._last_key is not None:
                self._patience = max(self._patience, 2 * (number - self._last_key))
            self._last_key = number
        while self._recoveries and self._recoveries[0][1] <= number:
            begin, _ = self._recoveries.pop(0)
            damages = [damage for damage in damages if damage > begin]
        if damages and number - damages[-1] > self._patience:
            damages = []
        self._damages = damages
        if not damages:
            self._shown.clear()
            self._recoveries.clear()
        elif self._holds(number):
            self._shown.add(number)
        return bool(damages) and damages[0] <= number

    def _holds(self, number: int) -> bool:
        place = bisect.bisect_left(self._damages, number)
        return place < len(self._damages) and self._damages[place] == number
