"""Settles requests with a shared store, in a thread: reads, judges, has changes carried out, and settles doubts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from runtime import clock
from wire import limits
from wire.errors import RefusalCode
from wire.messages import Record, Refused
from zdns.desk import Asked, described, named, not_written
from zdns.shared import Change, Verdict, View, applied, judge, overdue
from zdns.stores import SharedStore, StoreDoubtful, StoreError

log = logging.getLogger("relevo.zdns")

_CHANGES_MAX = 100  # in one transaction; etcd takes 128 operations unless told otherwise


@dataclass(frozen=True, slots=True)
class Overdue:
    """A server that was last heard at `heard_ms`, too long ago."""

    id: str
    heard_ms: int


Item = Asked | Overdue


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: verdicts in its order, fewer when the store failed; and what was seen at `read_ms`."""

    verdicts: list[Verdict]
    view: View | None
    read_ms: int
    trouble: str = ""


class Settler:
    """Works for many threads at once. Invariant: a verdict is returned when the store has carried out just that one."""

    def __init__(self, store: SharedStore, lease_ms: int, rng: Random) -> None:
        """`lease_ms`: of a server; `rng` draws the standbys that are picked."""
        self._store = store
        self._lease_ms = lease_ms
        self._rng = rng

    def judge(self, view: View, asked: Asked) -> Verdict:
        """What the answer would be by `view`; needs no thread."""
        return self._verdict(asked, view, self._store.lease)

    def settle(self, name: str, seen: View | None, batch: Sequence[Item]) -> Outcome:
        """Read once, which answers most; write once who comes and goes, and each change of the record by itself."""
        verdicts: list[Verdict] = []
        began_ms = clock.monotonic_ms()
        until_ms = began_ms + limits.ETCD_WAIT_MS
        try:
            view = self._store.read(name, seen)
            group = _Group(view)
            for item in batch:
                verdict = self._verdict(item, group.planned, self._lease())
                if group.takes(verdict):
                    group.add(item, verdict)
                    continue
                view = self._settle_group(group, verdicts, until_ms)
                verdict, view = self._settle_one(item, view, until_ms)
                verdicts.append(verdict)
                group = _Group(view)
            view = self._settle_group(group, verdicts, until_ms)
        except StoreError as error:
            return Outcome(verdicts, None, 0, str(error))
        return Outcome(verdicts, view, began_ms)

    def _settle_group(self, group: "_Group", verdicts: list[Verdict], until_ms: int) -> View:
        """All of a group by one transaction; one by one if that fails. Raises StoreError."""
        view, done = group.view, True
        if group.changes:
            done = False
            # The first key of a service has a limit of its own, and for one alone this would only be a detour.
            if view.rows and len(group.items) > 1:
                try:
                    view, done = self._commit(view, group.changes)
                except StoreError:
                    if clock.monotonic_ms() >= until_ms:
                        raise
                    view = self._store.read(view.service, view)
        if done:
            for item, verdict in group.items:
                _note_done(item, verdict.changes)
                verdicts.append(verdict)
            return view
        for item, _ in group.items:
            verdict, view = self._settle_one(item, view, until_ms)
            verdicts.append(verdict)
        return view

    def _settle_one(self, item: Item, view: View, until_ms: int) -> tuple[Verdict, View]:
        """Judge, have the store carry it out, and judge anew if another zdns was faster.

        Raises:
            StoreError: it is not known what became of it; nobody must be answered.
        """
        for _ in range(limits.ETCD_TRIES):
            lease = self._lease()
            verdict = self._verdict(item, view, lease)
            if not verdict.changes:
                return verdict, view
            if clock.monotonic_ms() >= until_ms:
                raise StoreError(f"what was asked of {view.service} took longer than {limits.ETCD_WAIT_MS / 1000:g} s")
            if isinstance(item, Asked) and not view.rows and self._store.keys_count() >= limits.ETCD_KEYS_MAX:
                sentence = f"the etcd of this zdns holds {limits.ETCD_KEYS_MAX} keys of services already"
                return Verdict(Refused(item.request.ask, RefusalCode.FULL, sentence)), view
            try:
                view, done = self._commit(view, verdict.changes)
            except StoreError as error:
                if isinstance(item, Overdue) or isinstance(error, StoreDoubtful):
                    raise
                if lease == self._store.lease:
                    log.error("%s: %s", named(item.request), error)
                    return Verdict(not_written(item.request, error), is_there=True), view
                view, done = self._store.read(view.service, view), False  # its lease has ended: with another one, again
            if done:
                _note_done(item, verdict.changes)
                return verdict, view
        raise StoreError(f"other zdns were faster {limits.ETCD_TRIES} times in a row with {view.service}")

    def _commit(self, view: View, changes: Sequence[Change]) -> tuple[View, bool]:
        """Have changes carried out, and what there is then; a doubt is settled by reading.

        Raises:
            StoreDoubtful: the store cannot be read now.
            StoreError: it refuses them, and nothing has changed.
        """
        try:
            done, view = self._store.commit(view, changes)
        except StoreDoubtful as doubt:
            log.warning("service=%s: etcd is asked again what it has: %s", view.service, doubt)
            try:
                view = self._store.read(view.service, view)
            except StoreError as error:
                raise StoreDoubtful(str(error)) from error
            done = applied(view, changes)
        return view, done

    def _lease(self) -> int:
        if not self._store.lease:
            self._store.hold(self._lease_ms)
        return self._store.lease

    def _verdict(self, item: Item, view: View, lease: int) -> Verdict:
        if isinstance(item, Asked):
            # The time at which it came counts, however long it waited.
            return judge(view, item.request, item.came_ms, lease_ms=self._lease_ms, lease=lease, rng=self._rng)
        return Verdict(Refused(0, RefusalCode.NOT_REGISTERED, ""), overdue(view, item.id, lease))


class _Group:
    """Verdicts that stand or fall together: nobody in it changes the record, or what another one changes."""

    def __init__(self, view: View) -> None:
        """`view` is what the first one is judged by."""
        self.view = view
        self.planned = view  # as it will be when all of them are carried out
        self.items: list[tuple[Item, Verdict]] = []
        self.changes: list[Change] = []
        self._keys: set[str] = set()

    def takes(self, verdict: Verdict) -> bool:
        """Whether one more fits in."""
        if not verdict.changes:
            return True
        fits = len(self.changes) + len(verdict.changes) <= _CHANGES_MAX
        return fits and not _changes_record(verdict) and self._keys.isdisjoint(one.key for one in verdict.changes)

    def add(self, item: Item, verdict: Verdict) -> None:
        """One more, judged by `planned`."""
        self.items.append((item, verdict))
        if verdict.changes:
            self.changes += verdict.changes
            self._keys.update(change.key for change in verdict.changes)
            self.planned = self.planned.after(verdict.changes)


def _changes_record(verdict: Verdict) -> bool:
    return any(isinstance(change.value, Record) for change in verdict.changes)


def _note_done(item: Item, changes: Sequence[Change]) -> None:
    if isinstance(item, Overdue) and changes:
        log.info("server=%s is silent and forgotten", item.id)
    for change in changes:
        if isinstance(change.value, Record) and isinstance(item, Asked):
            log.info("%s by %s", described(change.value), named(item.request))
