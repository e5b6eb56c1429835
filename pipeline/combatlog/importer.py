"""A log from its first line to its last: segment by segment, evening by evening."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl

from pipeline.combatlog import evenings
from pipeline.combatlog.clock import Clock, parse_offset
from pipeline.combatlog.evenings import Opening
from pipeline.combatlog.layouts import LAYOUTS, Layout, layouts_of
from pipeline.combatlog.lines import timed
from pipeline.combatlog.pseudonyms import Pseudonyms
from pipeline.combatlog.raids import Raid
from pipeline.combatlog.reader import identify, opened, segments
from pipeline.combatlog.report import Books, check, merged
from pipeline.combatlog.sidefile import SideFile
from pipeline.errors import PipelineError
from pipeline.params import ImportLogs


class Log:
    """A combat log to be read once, by `frames()`, after which `raids` and `books` tell what its lines became."""

    def __init__(
        self,
        file: Path,
        stated: SideFile,
        section: ImportLogs,
        layouts: tuple[Layout, ...] = LAYOUTS,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        """Look at the log's first lines.

        Raises:
            PipelineError: it is no combat log, or a year or an offset is needed and not stated.
        """
        opening = identify(file, pseudonyms)
        clock = _clock(opening, stated, file)
        if opening.raid_id(clock) is None:
            raise PipelineError(
                f"{file}: its first line's date {opening.date_text} does not exist in {clock.year}; give another year"
            )
        self.file = file
        self.pseudonyms = pseudonyms
        self.stated_id = stated.raid_id
        self.include_dungeons = section.include_dungeons
        self.pause = timedelta(hours=section.evening_pause_h)
        self.layouts = layouts
        self.raids = [Raid(clock, section.include_dungeons, stated.raid_id, opening=opening)]

    @property
    def raid_id(self) -> str:
        """That of its first raid, which is known before anything is read."""
        return self.raids[0].raid_id

    @property
    def books(self) -> Books:
        """The books of all its raids."""
        return merged(raid.books for raid in self.raids)

    def frames(self, is_finished: bool = True) -> Iterator[tuple[str, pl.DataFrame]]:
        """The log's events with the raid's id: some of a raid at a time (wire schema, sorted), raid after raid.

        Args:
            is_finished: whether a pull that is open at the end of the log ends there; else it has no event of its end.

        Raises:
            PipelineError: the log cannot be read, or no line has a date that exists.
        """
        clock, latest, n_lines = self.raids[0].clock, None, 0
        with opened(self.file, self.pseudonyms) as stream:
            for segment in segments(stream):
                n_lines += segment.n_lines
                lines, following, clock = timed(segment, clock)
                begins, latest = evenings.beginnings(lines["timestamp"], following, latest, self.pause)
                for is_new, part in evenings.parts(lines, begins):
                    if is_new:
                        yield from self._next_evening(part, clock)
                    events = self.raids[-1].events(part, segment, layouts_of(segment.build, self.layouts))
                    if events.height:
                        yield self.raids[-1].raid_id, events
        if is_finished:
            yield from self._end_pull()
        self.raids[-1].leave_pull_open()
        check(self.books, n_lines, str(self.file))
        if clock.last is None:
            raise PipelineError(f"{self.file}: no line has a date that exists in {clock.year}; give another year")

    def _next_evening(self, lines: pl.DataFrame, clock: Clock) -> Iterator[tuple[str, pl.DataFrame]]:
        """End the evening and begin the next with these lines; where nothing happened so far, the raid goes on."""
        yield from self._end_pull()
        if self.raids[-1].books.events:
            first = lines.row(0, named=True)
            stated_id = self.stated_id and evenings.numbered(self.stated_id, len(self.raids) + 1)
            own_clock = replace(clock, last=first["timestamp"].date())
            self.raids.append(Raid(own_clock, self.include_dungeons, stated_id, first["line"]))

    def _end_pull(self) -> Iterator[tuple[str, pl.DataFrame]]:
        raid = self.raids[-1]
        yield from ((raid.raid_id, end) for end in raid.end_pull())


def _clock(opening: Opening, stated: SideFile, file: Path) -> Clock:
    missing = []
    if not opening.names_year and stated.year is None:
        missing.append(("the year of its first line", "--year 2022", "year: 2022"))
    if not opening.names_offset and stated.utc_offset is None:
        missing.append(("its offset from UTC", "--utc-offset=+02:00", 'utc_offset: "+02:00"'))
    if missing:
        whats, options, keys = zip(*missing, strict=True)
        raise PipelineError(
            f"{file}: the log does not say {' and '.join(whats)}. Say it: `import-log {' '.join(options)}`, or for "
            f"data/raw/ a file {file.name}.yaml beside the log with the line{'s' * (len(keys) > 1)} "
            f"{' and '.join(f'`{key}`' for key in keys)} (with your log's values)"
        )
    return Clock(stated.year, None if stated.utc_offset is None else parse_offset(stated.utc_offset))
