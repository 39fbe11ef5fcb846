"""One house for several zdns: its file on each machine is kept in step with what the shared store holds.

Whoever starts first puts its own into the store; the others take that up. What a command changes in one of the files,
a ban or a new secret, goes to the store, and from there to the other files, within a second or two. Whoever can read
the store can let itself in: it is as secret as the files are.
"""

import asyncio
import logging

from wire import limits
from zdns.door import House
from zdns.house import HouseFile, house_bytes, house_from
from zdns.stores import SharedStore, StoreError

log = logging.getLogger("relevo.zdns")


class SharedHouse:
    """The file of one of them. Its calls wait for the store: they are for a thread."""

    def __init__(self, file: HouseFile, store: SharedStore) -> None:
        self._file = file
        self._store = store
        self._agreed: House | None = None

    def step(self) -> None:
        """Take up what the others have; put there what was changed here.

        Raises:
            StoreError: the store does not answer, or holds something else there.
            SecretFileError: the file cannot be written.
        """
        ours = self._file()
        is_changed = self._agreed is not None and ours != self._agreed
        instead_of = house_bytes(self._agreed) if self._agreed is not None and is_changed else b""
        theirs = house_from(self._store.offer_house(instead_of, house_bytes(ours)))
        if theirs != ours:
            if is_changed:
                log.warning("another zdns was faster to change the house: what was changed here is undone")
            self._file.take_up(theirs)
        self._agreed = theirs

    async def keep_in_step(self) -> None:
        """For ever; a store that does not answer is asked again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(limits.HOUSE_STEP_MS / 1000)
            try:
                await loop.run_in_executor(None, self.step)
            except StoreError as error:
                log.warning("the house is not kept in step: %s", error)
