"""What numbers and texts of a client may be: they are checked where a message is decoded (`msgspec.Meta`), and nowhere else.

Values of the trail are not declared with these: what is sealed is read as it is, whatever it says.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from envtrail.model.times import EARLIEST_MS, LATEST_MS

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `msgspec.json.decode` raises where bytes are not of the type; the last for deep nesting."""
TimeMs = Annotated[int, Meta(ge=0, le=LATEST_MS)]
"""When something happens: 1970 to 9999."""
AnyTimeMs = Annotated[int, Meta(ge=EARLIEST_MS, le=LATEST_MS)]
"""An end of a span that is searched."""
Number = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
"""A count, a pid."""
KernelNumber = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
"""A session, a uid: unsigned, 32 bits."""
BigNumber = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""What SQLite and Arrow hold."""
Word = Annotated[str, Meta(max_length=256)]
"""A name, an id, a digest."""
Line = Annotated[str, Meta(max_length=4096)]
"""A path, a search text, a reason."""
Block = Annotated[str, Meta(max_length=16_384)]
"""An armoured signature."""
