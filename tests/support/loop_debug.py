"""The debug mode of event loops, without what makes it slow."""

import sys
import traceback
from typing import Any


def leave_out_stacks() -> None:
    """Have the debug mode of event loops only check: stacks are made for messages that none sees.

    Those of all callbacks and coroutines double the work. To be called before uvloop is imported.
    """
    extract = traceback.StackSummary.extract
    left_out = traceback.FrameSummary("(no stack)", 0, "", lookup_line=False)

    def extract_for_people(*args: Any, lookup_lines: bool = True, **options: Any) -> Any:
        if not lookup_lines:  # as event loops want it
            # Never empty: for its message of a slow callback, uvloop takes the last frame.
            return traceback.StackSummary([left_out])
        return extract(*args, lookup_lines=lookup_lines, **options)

    traceback.StackSummary.extract = extract_for_people  # type: ignore[method-assign]
    sys.set_coroutine_origin_tracking_depth = lambda depth: None
