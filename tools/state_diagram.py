"""Print the states of a Session: ``state_diagram.py [--mermaid | --text]``."""

import argparse
from collections import defaultdict

from torrent_engine.engine.states import TRANSITIONS, Resumed, Signal, State


def target_name(target: State | Resumed) -> str:
    """Name a target of the table."""
    if isinstance(target, State):
        return target.name
    what = "was paused" if target is Resumed.TO_PAUSED_STATE else "moved payload and failed"
    return f"the state that {what}"


def grouped() -> dict[tuple[State, State | Resumed], list[Signal]]:
    """Group the table's rows by where they lead from and to."""
    groups: dict[tuple[State, State | Resumed], list[Signal]] = defaultdict(list)
    for (state, signal), target in TRANSITIONS.items():
        groups[state, target].append(signal)
    return groups


def mermaid() -> str:
    """Return the table as a mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.STOPPED.name}"]
    for (state, target), signals in grouped().items():
        label = ", ".join(signal.name for signal in signals)
        if isinstance(target, State):
            lines.append(f"    {state.name} --> {target.name}: {label}")
        else:
            lines.append(f"    note right of {state.name} : {label} leads to {target_name(target)}")
    return "\n".join(lines)


def text() -> str:
    """Return the table as aligned lines, one for each row."""
    states = max(len(state.name) for state in State)
    signals = max(len(signal.name) for signal in Signal)
    return "\n".join(
        f"{state.name:{states}}  --{signal.name:-<{signals}}->  {target_name(target)}"
        for (state, signal), target in TRANSITIONS.items()
    )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mermaid", action="store_true", help="a mermaid state diagram")
    parser.add_argument("--text", action="store_true", help="aligned lines (default)")
    print(mermaid() if parser.parse_args().mermaid else text())


if __name__ == "__main__":
    main()
