"""`python -m broker`: a server half as the child of a client half; see `broker.server.run_child`."""

import asyncio
import sys

from broker.server import run_child

sys.exit(asyncio.run(run_child()))
